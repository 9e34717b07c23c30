//! Access control lists: from the kernel's form into the text of tar and back, and with the users and groups of
//! another machine. Touches no file.
//!
//! The kernel's form (`linux/posix_acl_xattr.h`): the version, 2, then eight bytes an entry: tag, permissions, number of
//! the user or group.

use super::Owners;
use std::ffi::CStr;

/// The attribute with the list of a file or folder.
pub(crate) const ACCESS: &CStr = c"system.posix_acl_access";
/// The attribute with the list that new files in a folder get.
pub(crate) const DEFAULT: &CStr = c"system.posix_acl_default";

const VERSION: [u8; 4] = 2u32.to_le_bytes();

const OWNER: u8 = 0x01;
const USER: u8 = 0x02;
const OWNING_GROUP: u8 = 0x04;
const GROUP: u8 = 0x08;
const MASK: u8 = 0x10;
const OTHER: u8 = 0x20;

/// The number in entries that are about nobody in particular.
const NO_NUMBER: u32 = u32::MAX;

/// A list in the text form of tar; `None` if it is none.
pub(crate) fn to_text(list: &[u8]) -> Option<Vec<u8>> {
    let entries = list.strip_prefix(&VERSION)?.chunks(8);
    let texts: Option<Vec<String>> = entries
        .map(|entry| {
            let &[tag, _, permissions, _, a, b, c, d] = entry else { return None };
            let number = u32::from_le_bytes([a, b, c, d]);
            let who = match tag {
                OWNER => "user:".to_owned(),
                USER => format!("user:{number}"),
                OWNING_GROUP => "group:".to_owned(),
                GROUP => format!("group:{number}"),
                MASK => "mask:".to_owned(),
                OTHER => "other:".to_owned(),
                _ => return None,
            };
            let may = |bit: u8, letter: char| if permissions & bit == 0 { '-' } else { letter };
            Some(format!("{who}:{}{}{}", may(4, 'r'), may(2, 'w'), may(1, 'x')))
        })
        .collect();
    Some(texts?.join(",").into_bytes())
}

/// The kernel's form of a list of tar's, of whatever tar: entries are divided by commas or line ends, users and groups
/// given by number or by name. `None` if it cannot be understood.
pub(crate) fn from_text(text: &[u8], owners: &Owners) -> Option<Vec<u8>> {
    let mut list = VERSION.to_vec();
    for entry in std::str::from_utf8(text).ok()?.split([',', '\n']).filter(|entry| !entry.is_empty()) {
        let mut fields = entry.split(':');
        let (kind, name, permissions) = (fields.next()?, fields.next()?, fields.next()?);
        let (tag, number) = match (kind, name) {
            ("user", "") => (OWNER, NO_NUMBER),
            ("user", name) => (USER, owners.user_called(name)?),
            ("group", "") => (OWNING_GROUP, NO_NUMBER),
            ("group", name) => (GROUP, owners.group_called(name)?),
            ("mask", _) => (MASK, NO_NUMBER),
            ("other", _) => (OTHER, NO_NUMBER),
            _ => return None,
        };
        let bits = permissions.bytes().take(3).map(|letter| match letter {
            b'r' => Some(4),
            b'w' => Some(2),
            b'x' => Some(1),
            b'-' => Some(0),
            _ => None,
        });
        let bits = bits.sum::<Option<u8>>()?;
        list.extend([tag, 0, bits, 0]);
        list.extend(number.to_le_bytes());
    }
    Some(list)
}

/// A list in the kernel's form with users and groups as they are here. What is no list comes back as it is.
pub(crate) fn mapped(list: &[u8], owners: &Owners) -> Vec<u8> {
    let mut mapped = list.to_vec();
    if let Some(entries) = mapped.get_mut(VERSION.len()..).filter(|_| list.starts_with(&VERSION)) {
        for entry in entries.chunks_exact_mut(8) {
            let number = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let number = match entry[0] {
                USER => owners.user(number, ""),
                GROUP => owners.group(number, ""),
                _ => number,
            };
            entry[4..].copy_from_slice(&number.to_le_bytes());
        }
    }
    mapped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::owners::Then;

    #[test]
    fn a_list_survives_the_way_through_text() {
        let owners = Owners::as_they_were();
        let text = b"user::rwx,user:1234:r-x,group::r--,group:99:---,mask::rwx,other::--x";
        let list = from_text(text, &owners).unwrap();
        assert_eq!(list.len(), 4 + 6 * 8);
        assert_eq!(to_text(&list).unwrap(), text);
        assert_eq!(from_text(b"user::rwx\nuser:root:r-x\n", &owners), from_text(b"user::rwx,user:0:r-x", &owners));
        for odd in [&b"user:1234"[..], b"user:no such user here:r--", b"wheel::r--", b"user::rwz", b"\xff"] {
            assert_eq!(from_text(odd, &owners), None, "{odd:?}");
        }
    }

    #[test]
    fn users_in_a_list_are_mapped() {
        let mut owners = Owners::as_they_were();
        owners.map_user(Then { number: Some(33), name: "" }, 2000);
        let list = from_text(b"user::rwx,user:34:r-x,group:33:r-x", &Owners::as_they_were()).unwrap();
        assert_eq!(to_text(&mapped(&list, &owners)).unwrap(), b"user::rwx,user:34:r-x,group:33:r-x");
        let list = from_text(b"user:33:r-x", &Owners::as_they_were()).unwrap();
        assert_eq!(to_text(&mapped(&list, &owners)).unwrap(), b"user:2000:r-x");
    }
}
