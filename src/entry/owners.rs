//! Who owns what is brought back: numbers and names of the machine that was backed up become numbers of this one.
//! Changes no file.

use crate::error::Result;
use nix::unistd::{Gid, Group, Uid, User};
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Mutex;

/// An owner as a backup has it.
#[derive(Clone, Copy, Debug)]
pub struct Then<'a> {
    /// The number there; `None` where only the name is known.
    pub number: Option<u32>,
    /// The name there; empty where only the number is known.
    pub name: &'a str,
}

/// Who is to own things here: `USER[:GROUP]` as the administrator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id; that of the user's own group where none was named.
    pub gid: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let of_name = User::from_name(user).ok().flatten();
        let known = of_name.or_else(|| User::from_uid(Uid::from_raw(user.parse().ok()?)).ok()?);
        let uid = known.as_ref().map(|user| user.uid.as_raw()).or_else(|| user.parse().ok());
        let uid = uid.filter(|uid| *uid != NOBODY).ok_or_else(|| format!("there is no user {user:?} here"))?;
        let gid = match group {
            Some(group) => {
                let of_name = Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw());
                of_name.or_else(|| group.parse().ok()).filter(|gid| *gid != NOBODY)
            }
            None => known.map(|user| user.gid.as_raw()),
        };
        match (gid, group) {
            (Some(gid), _) => Ok(Owner { uid, gid }),
            (None, Some(group)) => Err(format!("there is no group {group:?} here")),
            (None, None) => Err(format!("user {user} has no name here: write {user}:GROUP")),
        }
    }
}

/// Maps owners. Without further word: by name where this machine knows the name, by number otherwise.
#[derive(Debug, Default)]
pub struct Owners {
    users: Names,
    groups: Names,
}

#[derive(Debug, Default)]
struct Names {
    by_number: HashMap<u32, u32>,
    by_name: HashMap<String, u32>,
    /// What this machine said about a name: asking it for each file would take longer than the file.
    known_here: Mutex<HashMap<String, Option<u32>>>,
}

impl Owners {
    /// Names that are known here, and else the numbers as they were.
    pub fn as_they_were() -> Self {
        Self::default()
    }

    /// What belonged to this user shall belong to user `now`.
    pub fn map_user(&mut self, then: Then<'_>, now: u32) {
        self.users.map(then, now);
    }

    /// What belonged to this group shall belong to group `now`.
    pub fn map_group(&mut self, then: Then<'_>, now: u32) {
        self.groups.map(then, now);
    }

    /// The number here of a user.
    pub fn user(&self, number: u32, name: &str) -> u32 {
        self.users.here(number, name, |name| Some(User::from_name(name).ok()??.uid.as_raw()))
    }

    /// The number here of a group.
    pub fn group(&self, number: u32, name: &str) -> u32 {
        self.groups.here(number, name, |name| Some(Group::from_name(name).ok()??.gid.as_raw()))
    }

    /// The number here of a user whose name, or number as text, is all that is known; `None` if nobody here is.
    pub fn user_called(&self, name: &str) -> Option<u32> {
        called(name, |number, name| self.user(number, name))
    }

    /// The number here of a group whose name, or number as text, is all that is known.
    pub fn group_called(&self, name: &str) -> Option<u32> {
        called(name, |number, name| self.group(number, name))
    }
}

impl Names {
    fn map(&mut self, then: Then<'_>, now: u32) {
        if let Some(number) = then.number {
            self.by_number.insert(number, now);
        }
        if !then.name.is_empty() {
            self.by_name.insert(then.name.to_owned(), now);
        }
    }

    fn here(&self, number: u32, name: &str, ask: impl FnOnce(&str) -> Option<u32>) -> u32 {
        if name.is_empty() {
            return self.by_number.get(&number).copied().unwrap_or(number);
        }
        let mapped = self.by_name.get(name).copied();
        mapped.or_else(|| self.known(name, ask)).or_else(|| self.by_number.get(&number).copied()).unwrap_or(number)
    }

    fn known(&self, name: &str, ask: impl FnOnce(&str) -> Option<u32>) -> Option<u32> {
        let mut known = self.known_here.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match known.get(name) {
            Some(number) => *number,
            None => *known.entry(name.to_owned()).or_insert_with(|| ask(name)),
        }
    }
}

/// Numbers from here on are nobody's: `-1` means "leave it as it is" to the kernel.
const NOBODY: u32 = u32::MAX;

fn called(name: &str, here: impl FnOnce(u32, &str) -> u32) -> Option<u32> {
    let number = match name.parse() {
        Ok(number) => here(number, ""),
        Err(_) => here(NOBODY, name),
    };
    (number != NOBODY).then_some(number)
}

/// Login name of a user of this machine; its number as text where there is none.
pub fn user_name(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or(uid.to_string(), |user| user.name)
}

/// Name of a group of this machine; its number as text where there is none.
pub fn group_name(gid: u32) -> String {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map_or(gid.to_string(), |group| group.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_named_with_or_without_group() {
        assert_eq!("root".parse(), Ok(Owner { uid: 0, gid: 0 }));
        assert_eq!("4711:root".parse(), Ok(Owner { uid: 4711, gid: 0 }));
        assert_eq!("0:4712".parse(), Ok(Owner { uid: 0, gid: 4712 }));
        for text in ["", ":", "no such user here", "root:no such group", "root:", "987654321"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_come_before_numbers_and_what_is_mapped_before_both() {
        let mut owners = Owners::as_they_were();
        assert_eq!(owners.user(4711, "root"), 0, "the name is known here");
        assert_eq!(owners.user(4711, "nobody of this machine"), 4711);
        assert_eq!(owners.group(12, ""), 12);
        owners.map_user(Then { number: Some(33), name: "www-data" }, 2000);
        assert_eq!((owners.user(33, ""), owners.user(48, "www-data")), (2000, 2000));
        assert_eq!(owners.user(33, "root"), 0, "the number belonged to somebody else in that archive");
        assert_eq!((owners.user_called("33"), owners.user_called("www-data")), (Some(2000), Some(2000)));
        assert_eq!(owners.user_called("nobody of this machine"), None);
    }
}
