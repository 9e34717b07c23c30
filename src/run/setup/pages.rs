//! The pages of questions in their order, which of them are asked, and the way from one to the next and back.

use super::{Wizard, change, finish, more, needs, predecessor, schedule, site, target, turns};
use crate::error::Result;

/// What a page of questions leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The next page.
    Next,
    /// The page before.
    Back,
    /// The same page once more.
    Again,
    /// There was nothing to ask: on, the way one came.
    Pass,
    /// The page with this title.
    To(&'static str),
}

type Page = fn(&mut Wizard) -> Result<Move>;

/// The page about the scripts that did this work before.
pub const PREDECESSOR: &str = "Moving over from the Moodle Backup Scripts";
/// The page on which a site is chosen.
pub const SITE: &str = "The site";
/// The page that shows how a site is set up already.
pub const CHANGE: &str = "What is set up";
/// The page about what the site is called.
pub const NAME: &str = "Its name";
/// The page about programs that are missing.
pub const NEEDS: &str = "What a backup needs";
/// The page about the place for the backups.
pub const PLACE: &str = "Where the backups go";
/// The page about the hour.
pub const WHEN: &str = "When";
/// The page about the weekly check.
pub const VERIFY: &str = "Reading them again";
/// The page about the retention.
pub const HOW_MANY: &str = "How many backups";
/// The page about folders that are saved too.
pub const DIRECTORIES: &str = "The server's own configuration";
/// The page about databases that are saved too.
pub const DATABASES: &str = "Other databases";
/// The page about the mail.
pub const MAIL: &str = "If a backup fails";
/// The last one.
pub const SUMMARY: &str = "Summary";

/// The pages, in their order.
const PAGES: [(&str, Page); 13] = [
    (PREDECESSOR, predecessor::take_over),
    (SITE, site::which),
    (CHANGE, change::what),
    (NAME, site::name),
    (NEEDS, needs::programs),
    (PLACE, target::place),
    (WHEN, schedule::when),
    (VERIFY, schedule::whether_to_verify),
    (HOW_MANY, schedule::how_many),
    (DIRECTORIES, more::directories),
    (DATABASES, more::databases),
    (MAIL, schedule::whom_to_tell),
    (SUMMARY, finish::agree),
];

/// The place of a page; the first where there is none of this title.
fn place(title: &str) -> usize {
    PAGES.iter().position(|(it, _)| *it == title).unwrap_or(0)
}

/// The title as it is known here, of one that was written down.
pub fn known(title: &str) -> Option<&'static str> {
    PAGES.iter().map(|(it, _)| *it).find(|it| *it == title)
}

/// Whether one page comes before another.
pub fn is_before(title: &str, other: &str) -> bool {
    place(title) < place(other)
}

impl Wizard<'_> {
    /// The questions, page by page, from the page with this title on.
    pub fn ask_all(&mut self, from: Option<&str>) -> Result<()> {
        let (mut page, mut onward) = (from.map_or(0, place), true);
        while let Some((title, ask)) = PAGES.get(page) {
            if *title == SUMMARY && self.for_another {
                return Ok(());
            }
            let answered = if self.is_asked(title, onward) { self.ask_one(title, *ask)? } else { Move::Pass };
            match answered {
                Move::Next => onward = true,
                Move::Back => onward = false,
                Move::Again => continue,
                Move::Pass => {}
                Move::To(title) => {
                    onward = true;
                    page = place(title);
                    self.wanted.iter_mut().for_each(|wanted| wanted.push(title));
                    continue;
                }
            }
            page = if onward { page + 1 } else { page.saturating_sub(1) };
            // Before the first page there is nothing.
            onward |= page == 0;
            // Which site it is is answered quickly again.
            if answered == Move::Next && ![PREDECESSOR, SITE, CHANGE].contains(title) {
                let next = PAGES[page..].iter().map(|(it, _)| *it).find(|it| self.is_asked(it, true));
                self.keep_answers(next.unwrap_or(SUMMARY));
            }
        }
        Ok(())
    }

    fn ask_one(&mut self, title: &'static str, ask: Page) -> Result<Move> {
        let asked: Vec<&str> =
            PAGES.iter().map(|(it, _)| *it).filter(|it| *it == title || self.is_asked(it, true)).collect();
        let at = asked.iter().position(|it| *it == title).unwrap_or(0) + 1;
        // How many there will be is only said on that one.
        let count = if title == CHANGE { String::new() } else { format!(" ({at} of {})", asked.len()) };
        self.person.heading(&format!("{title}{count}"));
        ask(self)
    }

    /// Whether a page has something to ask, or to show, to somebody who comes from the page before it, or back from one behind it.
    fn is_asked(&self, title: &str, onward: bool) -> bool {
        let wanted = || self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&title));
        match title {
            SUMMARY => true,
            PREDECESSOR => !self.is_further() && predecessor::found(self).is_some(),
            SITE => !self.site_is_clear,
            CHANGE => self.was_set_up() && (self.wanted.is_none() || !onward),
            // Those of the whole server were asked for at the first site.
            DIRECTORIES => wanted() && (self.wanted.is_some() || !self.is_further()),
            _ => wanted(),
        }
    }

    /// Whether this is one of several sites, and not the first.
    pub fn is_further(&self) -> bool {
        self.goes_on_with_further || !self.done.is_empty()
    }

    /// Whether the settings are those of the site that is asked about. Answers for another server are asked for in full.
    pub fn was_set_up(&self) -> bool {
        let same = |root| self.answers.site.root.as_deref().is_some_and(|it| turns::whole(it) == turns::whole(root));
        !self.for_another && self.old.as_ref().is_some_and(|old| same(&old.site.root))
    }
}
