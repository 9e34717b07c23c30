//! The table that a bench prints. Measures nothing.

/// Figures and ratios in the order in which they came.
#[derive(Default)]
pub struct Table {
    rows: Vec<(String, String, String)>,
}

impl Table {
    /// A figure with its unit and, after it, what is wanted.
    pub fn figure(&mut self, name: &str, value: f64, unit: &str) {
        self.row(name, format!("{value:.2}"), unit);
    }

    /// A ratio, and what is wanted.
    pub fn ratio(&mut self, name: &str, value: f64, wanted: &str) {
        self.row(name, format!("{value:.2}"), if wanted.is_empty() { "times" } else { wanted });
    }

    fn row(&mut self, name: &str, value: String, note: &str) {
        eprintln!("  {name}: {value} {note}");
        self.rows.push((name.into(), value, note.into()));
    }

    /// Prints all of it.
    pub fn print(&self) {
        let width = self.rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        println!();
        for (name, value, note) in &self.rows {
            println!("{name:width$}  {value:>8}  {note}");
        }
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
