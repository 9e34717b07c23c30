//! The members of a tar, as they are read: the reverse of `member.rs`. Takes nothing on trust: a member that could be
//! placed outside of its tree, or is no file, folder or link, is an error. Places nothing.

use crate::entry::attributes::{Attributes, is_kept};
use crate::entry::{Entry, Kind, Owners, Time, lists, shown};
use crate::error::{Fault, OrFault, Result};
use std::ffi::CString;
use std::io::Read;
use tar::{EntryType, Header};

/// What may come before a member to tell more of it. Far more than file systems keep as attributes of one file.
const MAX_EXTENSION: u64 = 16 << 20;

/// A member of an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// All that is known of it, with its owners here. Devices, inodes and times of inode changes are not.
    pub entry: Entry,
    /// Its extended attributes.
    pub attributes: Attributes,
    /// The path of the member of which this is a further name.
    pub link_to: Option<Vec<u8>>,
}

/// What members of other kinds tell of the one that follows them.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    mtime: Option<Time>,
    user: Option<String>,
    group: Option<String>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extensions {
    /// Takes a member that tells of the next one; false if this is none.
    pub fn take(&mut self, header: &Header, content: impl Read) -> Result<bool> {
        let kind = header.entry_type();
        let known = kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
        if !known {
            return Ok(false);
        }
        let size = header.size()?;
        if size > MAX_EXTENSION {
            return Err(Fault::failed(format!("there are {size} bytes about one member")).into());
        }
        let mut bytes = Vec::with_capacity(size as usize);
        content.take(size).read_to_end(&mut bytes)?;
        if kind.is_pax_local_extensions() {
            self.take_records(&bytes)?;
        } else {
            let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes).to_vec();
            let field = if kind.is_gnu_longname() { &mut self.path } else { &mut self.target };
            *field = Some(text);
        }
        Ok(true)
    }

    /// The records of a POSIX extended header: `LENGTH KEY=VALUE\n`, the length being that of all of it.
    fn take_records(&mut self, mut records: &[u8]) -> Result<()> {
        let damaged = || Fault::failed("an extended header cannot be understood");
        while !records.is_empty() {
            let blank = records.iter().position(|byte| *byte == b' ').ok_or_else(damaged)?;
            let length: usize =
                std::str::from_utf8(&records[..blank]).ok().and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
            let record = records.get(blank + 1..length).and_then(|rest| rest.strip_suffix(b"\n"));
            let record = record.ok_or_else(damaged)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(damaged)?;
            self.take_record(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Ok(())
    }

    fn take_record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let text = || String::from_utf8_lossy(value).into_owned();
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.target = Some(value.to_vec()),
            b"uname" => self.user = Some(text()),
            b"gname" => self.group = Some(text()),
            b"mtime" => {
                self.mtime = Some(time(value).ok_or_else(|| Fault::failed(format!("{:?} is no time", text())))?)
            }
            b"atime" | b"ctime" | b"comment" => {}
            _ if key.starts_with(b"SCHILY.") => self.attributes.push((key.to_vec(), value.to_vec())),
            // Sizes, numbers of owners and maps of holes among them, which this program never writes there.
            _ => {
                let key = String::from_utf8_lossy(key).into_owned();
                return Err(Fault::failed(format!("the extended header {key:?} is not known")).into());
            }
        }
        Ok(())
    }

    fn attributes(&self, owners: &Owners) -> Result<Attributes> {
        let mut attributes = Attributes::new();
        for (key, value) in &self.attributes {
            let list = || {
                lists::from_text(value, owners)
                    .ok_or_else(|| Fault::failed("an access control list cannot be understood, or names nobody here"))
            };
            match key.as_slice() {
                b"SCHILY.acl.access" => attributes.push((lists::ACCESS.to_owned(), list()?)),
                b"SCHILY.acl.default" => attributes.push((lists::DEFAULT.to_owned(), list()?)),
                key => {
                    let name = key.strip_prefix(b"SCHILY.xattr.").and_then(|name| CString::new(name).ok());
                    // What else there may be belongs to another machine.
                    attributes.extend(name.filter(|name| is_kept(name)).map(|name| (name, value.clone())));
                }
            }
        }
        Ok(attributes)
    }
}

impl Member {
    /// The member that a header and what came before it tell of.
    pub fn new(header: &Header, extensions: &Extensions, owners: &Owners) -> Result<Self> {
        let name = extensions.path.clone().unwrap_or_else(|| header.path_bytes().into_owned());
        let path = safe_path(&name)?;
        let text = |bytes: Option<&[u8]>| bytes.map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let of_member = |error: std::io::Error| -> anyhow::Error {
            anyhow::Error::from(error).context(Fault::failed(format!("the header of {} is damaged", shown(&name))))
        };
        let (kind, has_content) = kind_of(header.entry_type(), &path)?;
        let target = extensions.target.clone().or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let target = target.unwrap_or_default();
        let user = extensions.user.clone().unwrap_or_else(|| text(header.username_bytes()));
        let group = extensions.group.clone().unwrap_or_else(|| text(header.groupname_bytes()));
        let (uid, gid) = (header.uid().map_err(of_member)?, header.gid().map_err(of_member)?);
        let number = |number: u64| {
            u32::try_from(number).or_fault(|| Fault::failed(format!("{} has an impossible owner", shown(&name))))
        };
        let seconds = i64::try_from(header.mtime().map_err(of_member)?).unwrap_or_default();
        let entry = Entry {
            kind,
            size: if has_content { header.size().map_err(of_member)? } else { 0 },
            mtime: extensions.mtime.unwrap_or(Time { seconds, nanos: 0 }),
            ctime: Time::default(),
            device: 0,
            inode: 0,
            links: 1,
            mode: header.mode().map_err(of_member)? & 0o7777,
            uid: owners.user(number(uid)?, &user),
            gid: owners.group(number(gid)?, &group),
            target: if kind == Kind::Symlink { target.clone() } else { Vec::new() },
            path,
        };
        let attributes = extensions.attributes(owners).or_fault(|| Fault::failed(shown(&name)))?;
        let link_to = (header.entry_type() == EntryType::Link).then(|| safe_path(&target)).transpose()?;
        Ok(Member { entry, attributes, link_to })
    }
}

/// What a member is, and whether it has content.
fn kind_of(kind: EntryType, path: &[u8]) -> Result<(Kind, bool)> {
    Ok(match kind {
        EntryType::Regular | EntryType::Continuous => (Kind::File, true),
        EntryType::Link => (Kind::File, false),
        EntryType::Symlink => (Kind::Symlink, false),
        EntryType::Directory => (Kind::Folder, false),
        kind => {
            let what = match kind {
                EntryType::Char | EntryType::Block => "a device",
                EntryType::Fifo => "a pipe",
                EntryType::GNUSparse => "a file with holes",
                _ => "of a kind that is not known",
            };
            return Err(Fault::failed(format!("{} is {what}, which this program never puts there", shown(path))).into());
        }
    })
}

/// A member's path relative to the root of its tree, without anything that leads elsewhere.
fn safe_path(name: &[u8]) -> Result<Vec<u8>> {
    let refused = |why: &str| Fault::failed(format!("the name {} {why}", shown(name)));
    if name.first() == Some(&b'/') {
        return Err(refused("is absolute").into());
    }
    if name.contains(&0) {
        return Err(refused("has a NUL byte in it").into());
    }
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err(refused("leads out of its folder").into());
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    Ok(path)
}

/// A decimal number of seconds since 1970.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(match (negative, nanos) {
        (false, nanos) => Time { seconds: whole, nanos },
        (true, 0) => Time { seconds: -whole, nanos: 0 },
        (true, nanos) => Time { seconds: -whole - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_one_number() {
        assert_eq!(time(b"-0.500000000"), Some(Time { seconds: -1, nanos: 500_000_000 }));
        assert_eq!(time(b"-1.999999999"), Some(Time { seconds: -2, nanos: 1 }));
        assert_eq!(time(b"-5"), Some(Time { seconds: -5, nanos: 0 }));
        assert_eq!(time(b"7.00000003"), Some(Time { seconds: 7, nanos: 30 }));
        assert_eq!(time(b"7.0000000309"), Some(Time { seconds: 7, nanos: 30 }));
        assert_eq!([time(b""), time(b"x"), time(b"1.x"), time(b"--1"), time(b"-")], [None; 5]);
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        assert_eq!(safe_path(b"./").unwrap(), b"");
        assert_eq!(safe_path(b"./a//b/./c/").unwrap(), b"a/b/c");
        assert_eq!(safe_path(b"..a/b..").unwrap(), b"..a/b..");
        for name in [&b"/etc/passwd"[..], b"..", b"a/../../b", b"a/..", b"a\0b"] {
            assert!(safe_path(name).is_err(), "{name:?}");
        }
    }
}
