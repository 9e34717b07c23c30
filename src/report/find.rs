//! `find`: files in backups, where they are, and the command that brings the first of them back.

use super::layout::{Side, Table, plain, width, wrapped};
use super::show::section;
use super::{Look, human};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// So many places of a file are told, and so many things that could not be searched.
const TOLD: usize = 3;
const NOT_SEARCHED: usize = 10;

/// The width of the text.
const WIDTH: usize = 80;

/// What `find` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Find {
    /// Name of the site.
    pub site: String,
    /// What was looked for.
    pub pattern: String,
    /// The backups that were searched, the newest first.
    pub backups: Vec<String>,
    /// What of them: `code`, `moodledata`, `directory:NAME`, `uploads`.
    pub parts: Vec<String>,
    /// What was found, up to `--limit`.
    pub found: Vec<Found>,
    /// How many were found in all.
    pub count: u64,
    /// How many in each part that has any.
    pub counts: Vec<Count>,
    /// What could not be searched, and why.
    pub not_searched: Vec<String>,
    /// Where nothing was found: what may help.
    pub to_try: Vec<String>,
}

/// How many were found in a part.
#[derive(Clone, Debug, Serialize)]
pub struct Count {
    /// The part.
    pub part: String,
    /// How many.
    pub count: u64,
}

/// Something that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The part that it is in; `uploads` for what users have uploaded.
    pub part: String,
    /// `file`, `folder` or `link`.
    pub kind: String,
    /// The path that it had on the server, for users' files the name in Moodle. Quoted and escaped where it has bytes that are
    /// no text, or control characters.
    pub path: String,
    /// Its size; none for folders and links.
    pub bytes: Option<u64>,
    /// When it was last changed, in the newest backup that has it.
    pub changed: Option<DateTime<Utc>>,
    /// Users' files: SHA-1 of the content.
    pub contenthash: Option<String>,
    /// Users' files: where Moodle has it; of drafts only one.
    pub uses: Vec<Use>,
    /// Users' files: whether the pool does not have it any more. Not looked at in an export.
    pub lost: bool,
    /// The backups that have it, the newest first; the same size and time count as the same, for users' files the content.
    pub backups: Vec<String>,
    /// The command that brings it back from the newest of them.
    pub restore: String,
}

/// A place of an uploaded file in Moodle.
#[derive(Clone, Debug, Serialize)]
pub struct Use {
    /// The plugin.
    pub component: String,
    /// The plugin's division; `draft` for what a form was filled in with.
    pub filearea: String,
    /// The folder in it.
    pub folder: String,
    /// Number of the context: a course, an activity, a user.
    pub contextid: String,
    /// What that is: a course by its names, a user or a context by its number.
    pub place: String,
    /// Who made it, as the uploader said.
    pub author: String,
}

/// As text.
pub fn text(find: &Find, look: &Look) -> String {
    let not_searched = section("Not searched", &not_searched(find), look);
    if find.found.is_empty() {
        return nothing(find, look) + &not_searched;
    }
    let mut text = table(find, look) + "\n" + &count(find);
    if let Some(first) = find.found.iter().find(|found| !found.lost) {
        text += &wrapped("", to_bring_back(find));
        text += &command(&first.restore);
    }
    text + &not_searched
}

fn nothing(find: &Find, look: &Look) -> String {
    let searched = format!("Searched: {}.", find.parts.join(", "));
    let head = format!("Nothing of the name {:?} is in {} of {}.", find.pattern, backups(find), find.site);
    wrapped("", &head) + &wrapped("", &searched) + &section("To try", &find.to_try, look)
}

fn to_bring_back(find: &Find) -> &'static str {
    match find.found.as_slice() {
        [_] => "To bring it back:",
        [first, ..] if first.lost => "To bring back the first that is not lost:",
        _ => "To bring the first back; others likewise, by their names:",
    }
}

fn backups(find: &Find) -> String {
    match find.backups.as_slice() {
        [one] => format!("backup {one}"),
        all => format!("the {} backups", all.len()),
    }
}

fn table(find: &Find, look: &Look) -> String {
    let mut table =
        Table::new(&[("PART", Side::Left), ("SIZE", Side::Right), ("CHANGED", Side::Left), ("NAME", Side::Left)]);
    for found in &find.found {
        table.row(vec![
            found.part.clone(),
            found.bytes.map_or("-".into(), human::bytes),
            found.changed.map_or("-".into(), |changed| look.minute(changed)),
            String::new(),
        ]);
    }
    let mut rows = table.rows().into_iter();
    let head = rows.next().unwrap_or_default();
    let room = WIDTH.saturating_sub(head.find("NAME").unwrap_or_default());
    let column = head.find("NAME").unwrap_or_default();
    let mut text = look.paint(super::Paint::Head, head.trim_end()) + "\n";
    for (row, found) in rows.zip(&find.found) {
        let name = plain(&name(found));
        let row = row.trim_end();
        text += &match width(&name) <= room {
            true => format!("{row:<column$}{name}\n"),
            false => format!("{row}\n    {name}\n"),
        };
        text += &notes(find, found).iter().map(|note| wrapped("    ", note)).collect::<String>();
    }
    text
}

fn name(found: &Found) -> String {
    match found.kind.as_str() {
        "folder" => format!("{}/", found.path),
        "link" => format!("{} (a link)", found.path),
        _ => found.path.clone(),
    }
}

fn notes(find: &Find, found: &Found) -> Vec<String> {
    let mut notes: Vec<String> = found.uses.iter().take(TOLD).map(used).collect();
    if found.uses.len() > TOLD {
        notes.push(format!("and {} more", human::count((found.uses.len() - TOLD) as u64, "place")));
    }
    if found.lost {
        notes.push("LOST: the pool does not have it any more".into());
    }
    match find.backups.len() {
        1 => {}
        all if found.backups.len() == all => notes.push(format!("in all {all} backups")),
        _ => notes.push(format!("in {}", ranges(&find.backups, &found.backups))),
    }
    notes
}

/// `mod_resource/content of course "Botany" (bot1), in /week 1/, by Ann O'Nym`
fn used(one: &Use) -> String {
    let mut words = match one.filearea.as_str() {
        "draft" => format!("a draft of {}", one.place),
        area => format!("{}/{area} of {}", one.component, one.place),
    };
    if one.folder != "/" {
        words += &format!(", in {}", one.folder);
    }
    if !one.author.is_empty() {
        words += &format!(", by {}", one.author);
    }
    words
}

/// Which of the backups have something, as ranges without a gap: `A to B (7 backups), and C`. Both lists are in one order, the
/// newest first.
fn ranges(all: &[String], having: &[String]) -> String {
    let mut ranges: Vec<Vec<&String>> = Vec::new();
    let mut open = false;
    for name in all {
        let has = having.contains(name);
        match ranges.last_mut().filter(|_| open && has) {
            Some(range) => range.push(name),
            None if has => ranges.push(vec![name]),
            None => {}
        }
        open = has;
    }
    let more = ranges.len().saturating_sub(TOLD);
    let words = |range: &Vec<&String>| match range.as_slice() {
        [newest, .., oldest] => format!("{oldest} to {newest} ({} backups)", range.len()),
        one => one.iter().map(|name| (*name).clone()).collect(),
    };
    let mut words: Vec<String> = ranges.iter().take(TOLD).map(words).collect();
    if more > 0 {
        let left: usize = ranges.iter().skip(TOLD).map(Vec::len).sum();
        words.push(format!("and {left} older"));
    }
    words.join(", ")
}

fn count(find: &Find) -> String {
    let shown = find.found.len() as u64;
    let place = format!("{} of {}", backups(find), find.site);
    let text = match find.count.saturating_sub(shown) {
        0 => format!("{} found in {place}.", human::number(shown)),
        more => format!(
            "{} found in {place} ({}); {} more than are shown here: narrow it by --in or a longer name, or show all by --limit 0.",
            human::number(find.count),
            counts(find),
            human::number(more)
        ),
    };
    wrapped("", &text)
}

/// `code 1,100, uploads 105`
fn counts(find: &Find) -> String {
    let words = find.counts.iter().map(|one| format!("{} {}", one.part, human::number(one.count)));
    words.collect::<Vec<_>>().join(", ")
}

/// A command that can be copied as it stands: broken between its options only.
fn command(text: &str) -> String {
    let whole = format!("    {}\n", plain(text));
    if width(whole.trim_end()) <= WIDTH {
        return whole;
    }
    whole.replacen(" --path ", " \\\n        --path ", 1).replacen(" --file ", " \\\n        --file ", 1)
}

fn not_searched(find: &Find) -> Vec<String> {
    let mut told: Vec<String> = find.not_searched.iter().take(NOT_SEARCHED).cloned().collect();
    let more = find.not_searched.len().saturating_sub(NOT_SEARCHED);
    if more > 0 {
        told.push(format!("and {more} more: --json has all"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn backups_in_a_row_are_told_as_one() {
        let names = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let all = names("hgfedcba");
        assert_eq!(ranges(&all, &names("hgfedcba")), "a to h (8 backups)");
        assert_eq!(ranges(&all, &names("hgb")), "g to h (2 backups), b");
        assert_eq!(ranges(&all, &names("hfdba")), "h, f, d, and 2 older");
    }
}
