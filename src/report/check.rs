//! `check`: what preflight found, what is fine and what is not.

use super::layout::wrapped;
use super::{Look, Paint, human};
use serde::Serialize;

/// What `check` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Name of the site.
    pub site: String,
    /// The findings, by what they are about.
    pub groups: Vec<Group>,
}

/// Findings about one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What they are about: `settings`, `site`, `database`, `target`.
    pub name: String,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it; at least where it is a problem.
    pub next: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// A backup would be made, with this warning.
    Warning,
    /// A backup would be refused.
    Problem,
}

impl Check {
    /// How many findings there are of a level.
    pub fn count(&self, level: Level) -> u64 {
        self.groups.iter().flat_map(|group| &group.findings).filter(|finding| finding.level == level).count() as u64
    }
}

impl Check {
    /// What stands in the way of a backup, each with what to do about it.
    pub fn problems(&self) -> Vec<String> {
        let findings = self.groups.iter().flat_map(|group| &group.findings);
        let problems = findings.filter(|finding| finding.level == Level::Problem);
        problems.map(|it| it.next.iter().fold(it.text.clone(), |text, next| format!("{text} -> {next}"))).collect()
    }
}

/// As text.
pub fn text(check: &Check, look: &Look) -> String {
    let mut text = String::new();
    for group in &check.groups {
        text += &(look.paint(Paint::Head, &group.name) + "\n");
        text.extend(group.findings.iter().map(|finding| self::finding(finding, look)));
    }
    let (problems, warnings) = (check.count(Level::Problem), check.count(Level::Warning));
    let said = [(problems, "problem"), (warnings, "warning")];
    let said: Vec<String> = said.iter().filter(|(n, _)| *n > 0).map(|(n, what)| human::count(*n, what)).collect();
    let verdict = match (problems, warnings) {
        (0, 0) => format!("All is well: a backup of {} can be made.", check.site),
        (0, _) => format!("{}: a backup of {} can be made, and would say so.", said.join(", "), check.site),
        _ => format!("{}: a backup of {} would be refused.", said.join(", "), check.site),
    };
    text + "\n" + &wrapped("", &verdict)
}

fn finding(finding: &Finding, look: &Look) -> String {
    let (paint, mark) = match finding.level {
        Level::Fine => (Paint::Good, "  ok       "),
        Level::Warning => (Paint::Warning, "  warning  "),
        Level::Problem => (Paint::Bad, "  PROBLEM  "),
    };
    let text = wrapped(mark, &finding.text);
    let text = look.paint(paint, mark) + text.strip_prefix(mark).unwrap_or(&text);
    let next = finding.next.as_ref().map_or(String::new(), |next| wrapped("           -> ", next));
    text + &next
}
