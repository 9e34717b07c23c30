//! The members of a tar: headers in GNU's form, with its long names, and a POSIX extended header where a time does
//! not fit. GNU tar, bsdtar and Python read them. Reads no file and knows no compression.

use crate::entry::attributes::Attributes;
use crate::entry::{Entry, Kind, Time, lists};
use nix::unistd::{Gid, Group, Uid, User};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use tar::{Builder, EntryType, Header};

/// Names up to this length stand in the header itself.
const SHORT: usize = 100;

/// The longest owner's or group's name that a header takes; a longer one is left out, its number stays.
const LONGEST_OWNER: usize = 31;

/// Writes a tar, member by member.
pub(super) struct Members<W: Write> {
    builder: Builder<W>,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl<W: Write> Members<W> {
    /// Begins a tar.
    pub fn new(stream: W) -> Self {
        Members { builder: Builder::new(stream), users: HashMap::new(), groups: HashMap::new() }
    }

    /// Adds a folder or a symbolic link.
    pub fn add_empty(&mut self, entry: &Entry, attributes: &Attributes) -> io::Result<()> {
        self.extend(entry, attributes)?;
        let mut path = entry.path.clone();
        let kind = match entry.kind {
            Kind::Symlink => EntryType::Symlink,
            _ => {
                path.extend_from_slice(if path.is_empty() { b"./" } else { b"/" });
                EntryType::Directory
            }
        };
        self.add(kind, entry, &path, &entry.target, 0, io::empty())
    }

    /// Adds a further name of a file that is in the archive as `first`.
    pub fn add_link(&mut self, entry: &Entry, first: &[u8]) -> io::Result<()> {
        self.extend(entry, &Attributes::new())?;
        self.add(EntryType::Link, entry, &entry.path, first, 0, io::empty())
    }

    /// Adds a file; `content` must have as many bytes as the entry says.
    pub fn add_file(&mut self, entry: &Entry, attributes: &Attributes, content: impl Read) -> io::Result<()> {
        self.extend(entry, attributes)?;
        self.add(EntryType::Regular, entry, &entry.path, b"", entry.size, content)
    }

    /// The stream that all goes to.
    pub fn stream(&mut self) -> &mut W {
        self.builder.get_mut()
    }

    /// Ends the tar and hands the stream back.
    pub fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }

    fn add(
        &mut self,
        kind: EntryType,
        entry: &Entry,
        path: &[u8],
        target: &[u8],
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_size(size);
        header.set_mtime(u64::try_from(entry.mtime.seconds).unwrap_or(0));
        self.set_owner_names(&mut header, entry)?;
        if target.len() > SHORT {
            self.add_before(EntryType::GNULongLink, b"././@LongLink", &with_nul(target))?;
        }
        if path.len() > SHORT {
            self.add_before(EntryType::GNULongName, b"././@LongLink", &with_nul(path))?;
        }
        header.set_link_name_literal(&target[..target.len().min(SHORT)])?;
        set_name(&mut header, path);
        header.set_cksum();
        self.builder.append(&header, content)
    }

    /// Adds what does not fit into the next member's own header.
    fn extend(&mut self, entry: &Entry, attributes: &Attributes) -> io::Result<()> {
        let mut records = Vec::new();
        if entry.mtime.nanos != 0 || entry.mtime.seconds < 0 {
            records.extend(extended_record(b"mtime", decimal(entry.mtime).as_bytes()));
        }
        for (name, value) in attributes {
            match (name.to_bytes(), lists::to_text(value)) {
                (b"system.posix_acl_access", Some(list)) => {
                    records.extend(extended_record(b"SCHILY.acl.access", &list))
                }
                (b"system.posix_acl_default", Some(list)) => {
                    records.extend(extended_record(b"SCHILY.acl.default", &list))
                }
                (name, _) => records.extend(extended_record(&[b"SCHILY.xattr.", name].concat(), value)),
            }
        }
        if records.is_empty() { Ok(()) } else { self.add_before(EntryType::XHeader, b"././@PaxHeader", &records) }
    }

    /// Adds a member that tells more about the next one.
    fn add_before(&mut self, kind: EntryType, name: &[u8], content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        set_name(&mut header, name);
        header.set_cksum();
        self.builder.append(&header, content)
    }

    fn set_owner_names(&mut self, header: &mut Header, entry: &Entry) -> io::Result<()> {
        let user = self.users.entry(entry.uid).or_insert_with(|| {
            User::from_uid(Uid::from_raw(entry.uid)).ok().flatten().map(|user| user.name).unwrap_or_default()
        });
        let group = self.groups.entry(entry.gid).or_insert_with(|| {
            Group::from_gid(Gid::from_raw(entry.gid)).ok().flatten().map(|group| group.name).unwrap_or_default()
        });
        if user.len() <= LONGEST_OWNER {
            header.set_username(user)?;
        }
        if group.len() <= LONGEST_OWNER {
            header.set_groupname(group)?;
        }
        Ok(())
    }
}

fn set_name(header: &mut Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
}

fn with_nul(bytes: &[u8]) -> Vec<u8> {
    [bytes, b"\0"].concat()
}

/// A time as a decimal number of seconds since 1970.
fn decimal(time: Time) -> String {
    match time {
        Time { seconds, nanos: 0 } => seconds.to_string(),
        Time { seconds, nanos } if seconds < 0 => {
            format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
        }
        Time { seconds, nanos } => format!("{seconds}.{nanos:09}"),
    }
}

/// A record of a POSIX extended header: it begins with its own length, the digits of that among it.
fn extended_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_written_as_one_number() {
        assert_eq!(decimal(Time { seconds: -1, nanos: 500_000_000 }), "-0.500000000");
        assert_eq!(decimal(Time { seconds: -2, nanos: 1 }), "-1.999999999");
        assert_eq!(decimal(Time { seconds: -5, nanos: 0 }), "-5");
        assert_eq!(decimal(Time { seconds: 7, nanos: 30 }), "7.000000030");
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        assert_eq!(extended_record(b"mtime", b"1"), b"11 mtime=1\n");
        for length in 0..300 {
            let record = extended_record(b"k", &vec![b'v'; length]);
            assert!(record.starts_with(format!("{} ", record.len()).as_bytes()), "{record:?}");
        }
    }
}
