//! What the options of `restore` say about where the backup comes from and where the site goes: settings, or what stands in
//! for them, the backup, and the place.

use super::{Session, listing};
use crate::cli;
use crate::error::{Fault, OrFault, Result};
use crate::extract::unpack::{Needed, Unpacked, unpack};
use crate::moodle::overrides::Secret;
use crate::restore::{self, Place};
use crate::settings::{self, Settings};
use crate::store::manifest::Manifest;
use crate::store::{Backup, source};
use crate::sys::files;
use crate::sys::privileges::Identity;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// The longest password that a file may hold, in bytes.
const LONGEST: u64 = 10_000;

/// What is brought back, and where to.
pub struct Source {
    /// The settings of the site; with another place, as they would be there.
    pub settings: Settings,
    /// The backup.
    pub backup: Backup,
    /// The place, where it is another one.
    pub place: Option<Place>,
    /// An export that was unpacked, to be kept until all is done.
    pub unpacked: Option<Unpacked>,
}

/// Finds backup and settings, and makes sense of the options.
pub fn source(session: &Session, args: &cli::Restore) -> Result<Source> {
    let wanted = args.backup.as_deref();
    // An export is unpacked where it lies.
    let export = args.from.as_deref().filter(|from| from.is_file());
    let unpacked =
        export.map(|file| unpack(file, files::parent(file), &Needed::Everything, &session.log)).transpose()?;
    let from = unpacked.as_ref().map(Unpacked::folder).or(args.from.as_deref());
    let (settings, backup) = match from {
        None => {
            let settings = session.settings()?;
            let backup = listing::existing_store(&settings)?.find(wanted.unwrap_or("latest"))?;
            (settings, backup)
        }
        Some(from) => {
            let source = source::open(from)?;
            let backup = source.store.find(wanted.or(source.backup.as_deref()).unwrap_or("latest"))?;
            let settings = match session.has_settings() {
                true => session.settings()?,
                false => stand_in(&backup.manifest, files::parent(source.store.folder()))?,
            };
            (settings, backup)
        }
    };
    // An undo is of a site that is here.
    let place = match args.undo || args.redo || args.discard {
        true => None,
        false => place(session, &settings, &backup.manifest, args)?,
    };
    let mut settings = settings;
    if let Some(place) = &place {
        settings.site.root.clone_from(&place.root);
        settings.site.web_user = Some(place.web_user.name.clone());
    }
    Ok(Source { settings, backup, place, unpacked })
}

/// Where this machine has no settings for it, the site comes back as it was.
fn stand_in(manifest: &Manifest, target: &Path) -> Result<Settings> {
    let mut settings = settings::without_file(&manifest.site.name, &manifest.paths.root, target)?;
    settings.site.web_user = Some(manifest.site.web_user.clone());
    Ok(settings)
}

fn place(session: &Session, settings: &Settings, manifest: &Manifest, args: &cli::Restore) -> Result<Option<Place>> {
    let root = args.root.clone().unwrap_or_else(|| root(settings, manifest));
    let options = [
        args.root.is_some(),
        args.dataroot.is_some(),
        args.wwwroot.is_some(),
        args.database_host.is_some(),
        args.database_name.is_some(),
        args.database_user.is_some(),
        args.database_password_file.is_some(),
        args.web_user.is_some(),
        args.config_php.is_some(),
        args.clone,
    ];
    if !options.contains(&true) && (args.from.is_none() || root == manifest.paths.root) {
        return Ok(None);
    }
    let name = args.web_user.as_ref().or(settings.site.web_user.as_ref()).unwrap_or(&manifest.site.web_user);
    let web_user = Identity::by_name(name).or_fault(|| {
        Fault::unfit(format!("the web server's user {name:?} is not known here"))
            .hint("install the web server, or name its user: --web-user USER")
    })?;
    Ok(Some(Place {
        root: restore::resolved(&root),
        dataroot: restore::resolved(args.dataroot.as_ref().unwrap_or(&manifest.paths.dataroot)),
        wwwroot: args.wwwroot.clone().unwrap_or_else(|| manifest.site.wwwroot.clone()),
        web_user,
        database: restore::Database {
            server: args.database_host.clone(),
            name: args.database_name.clone(),
            user: args.database_user.clone(),
            password: password(session, args)?,
        },
        config_php: args.config_php.clone(),
        clone: args.clone,
    }))
}

/// ROOT as the settings have it, who may name its public/ folder.
fn root(settings: &Settings, manifest: &Manifest) -> PathBuf {
    let root = &settings.site.root;
    match root.parent() {
        Some(above) if manifest.site.layout == "public" && root.ends_with("public") => above.to_path_buf(),
        _ => root.clone(),
    }
}

fn password(session: &Session, args: &cli::Restore) -> Result<Option<Secret>> {
    let text = match (&args.database_password_file, &args.database_user) {
        (Some(file), _) => {
            let unreadable = || Fault::unfit(format!("cannot read the password in {}", file.display()));
            let mut text = String::new();
            let opened = std::fs::File::open(file).or_fault(unreadable)?;
            opened.take(LONGEST).read_to_string(&mut text).or_fault(unreadable)?;
            let text = text.trim_end_matches(['\n', '\r']).to_owned();
            if text.is_empty() || text.contains('\n') {
                return Err(
                    Fault::unfit(format!("{} does not hold a password and nothing else", file.display())).into()
                );
            }
            text
        }
        (None, Some(user)) if !session.global.json && std::io::stdin().is_terminal() => ask(user)?,
        _ => return Ok(None),
    };
    Ok(Some(text).filter(|text| !text.is_empty()).map(Secret))
}

/// Asks on the terminal, without showing what is typed.
fn ask(user: &str) -> Result<String> {
    let stdin = std::io::stdin();
    eprint!("Password of the database account {user:?} [as in the backup's config.php]: ");
    std::io::stderr().flush()?;
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)?;
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &shown)?;
    eprintln!();
    read?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
