//! The site as it is now, as far as anything of it is left: from its config.php where that can be read, from the backup
//! where not. Changes nothing.

use super::load::wanted;
use super::place::{Place, require_same_site};
use super::{Job, collations, lacking, lost_config, room};
use crate::database::{Connection, Scope};
use crate::error::{Fault, OrFault, Result};
use crate::preflight::{Site, read_site};
use crate::settings::Settings;
use crate::store::Part;
use crate::store::manifest::Manifest;
use crate::sys::files;
use crate::sys::log::Log;
use crate::sys::paths::Paths;
use crate::sys::privileges::Identity;
use crate::undo::{self, Record};
use std::path::{Path, PathBuf};

/// Where the site is, or was.
#[derive(Clone, Debug)]
pub struct Here {
    /// ROOT.
    pub root: PathBuf,
    /// `$CFG->dataroot`.
    pub dataroot: PathBuf,
    /// `$CFG->filedir`.
    pub filedir: PathBuf,
    /// `$CFG->trashdir`.
    pub trashdir: PathBuf,
    /// The web user.
    pub web_user: Identity,
    /// The site, where its code and config.php are there.
    pub site: Option<Site>,
    /// Why they cannot be read.
    pub trouble: Option<String>,
    /// Where they cannot: how to reach the database by the config.php that comes back; or why that is not known.
    lost: Option<Result<Connection, String>>,
    /// Whether the site comes to a place where there is none.
    new: bool,
}

impl Here {
    /// Looks.
    pub fn look(job: &Job) -> Result<Here> {
        if let Some(place) = &job.place {
            return Ok(Here::in_place(job, place));
        }
        match read_site(job.settings) {
            Ok(site) => Ok(Here::of(site)),
            Err(error) => Ok(Here::remembered(job.settings, &job.backup.manifest, &error)?.with_what_comes_back(job)),
        }
    }

    /// With the way to its database that the config.php of the backup tells, where that comes back.
    fn with_what_comes_back(mut self, job: &Job) -> Here {
        if job.wants(&Part::Database) && job.wants(&Part::Code) && !job.keep_config {
            let told = lost_config::connection(job.settings, job.backup, &self.root, &self.web_user);
            self.lost = Some(told.map_err(|error| format!("{error:#}")));
        }
        self
    }

    /// Looks, as far as a site can be found without a backup: by config.php, or else by the record of a restore. Only if there is none
    /// either, what a backup says is asked for.
    pub fn look_without_backup(
        settings: &Settings,
        paths: &Paths,
        backup: &dyn Fn() -> Result<Manifest>,
    ) -> Result<Here> {
        let error = match read_site(settings) {
            Ok(site) => return Ok(Here::of(site)),
            Err(error) => error,
        };
        if let Some(record) = undo::newest(paths, &settings.site.root)? {
            return Here::recorded(settings, record, &error);
        }
        let manifest = backup().or_fault(|| {
            Fault::unfit(format!(
                "it cannot be told where the parts of the site are: {error:#}; and the backups do not tell"
            ))
            .hint("mount the target, or put config.php back in its place")
        })?;
        Here::remembered(settings, &manifest, &error)
    }

    fn of(site: Site) -> Here {
        Here {
            root: site.layout.root.clone(),
            dataroot: site.config.dataroot.clone(),
            filedir: site.config.filedir.clone(),
            trashdir: site.config.trashdir.clone(),
            web_user: site.web_user().clone(),
            site: Some(site),
            trouble: None,
            lost: None,
            new: false,
        }
    }

    /// As the options say. A site that stands there, with that very dataroot, is taken as it is.
    fn in_place(job: &Job, place: &Place) -> Here {
        let site = read_site(job.settings).ok().filter(|site| site.config.dataroot == place.dataroot);
        let then = &job.backup.manifest.paths;
        // What lay outside of the dataroot comes into it.
        let below = |path: &PathBuf, usual: &str| match path.strip_prefix(&then.dataroot) {
            Ok(below) => place.dataroot.join(below),
            Err(_) => place.dataroot.join(usual),
        };
        let (filedir, trashdir) = match &site {
            Some(site) => (site.config.filedir.clone(), site.config.trashdir.clone()),
            None => (below(&then.filedir, "filedir"), below(&then.trashdir, "trashdir")),
        };
        Here {
            root: place.root.clone(),
            dataroot: place.dataroot.clone(),
            filedir,
            trashdir,
            web_user: place.web_user.clone(),
            new: site.is_none(),
            site,
            trouble: None,
            lost: None,
        }
    }

    /// Whether the site comes to a place where there is none, and where nothing is closed or set aside.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// As the backup remembers it.
    fn remembered(settings: &Settings, manifest: &Manifest, error: &anyhow::Error) -> Result<Here> {
        let web_user = web_user(settings, &manifest.site.web_user)?;
        let paths = &manifest.paths;
        Ok(Here {
            lost: None,
            root: paths.root.clone(),
            dataroot: paths.dataroot.clone(),
            filedir: paths.filedir.clone(),
            trashdir: paths.trashdir.clone(),
            web_user,
            site: None,
            trouble: Some(format!("{error:#}")),
            new: false,
        })
    }

    /// As the record of a restore has it.
    fn recorded(settings: &Settings, record: Record, error: &anyhow::Error) -> Result<Here> {
        let web_user = web_user(settings, record.web_user.as_deref().unwrap_or("www-data"))?;
        Ok(Here {
            root: record.root.unwrap_or_else(|| settings.site.root.clone()),
            // Where these are does not matter to an undo.
            filedir: record.dataroot.join("filedir"),
            trashdir: record.dataroot.join("trashdir"),
            dataroot: record.dataroot,
            web_user,
            site: None,
            trouble: Some(format!("{error:#}")),
            lost: None,
            new: false,
        })
    }

    /// How to reach the site's database, where config.php tells: the one that is here, or the one that comes back.
    pub fn connection(&self) -> Option<&Connection> {
        let here = self.site.as_ref().map(|site| &site.connection);
        here.or(self.lost.as_ref().and_then(|lost| lost.as_ref().ok()))
    }

    /// Why that of a site which is lost is not known.
    pub fn unknown_connection(&self) -> Option<String> {
        let why = self.lost.as_ref()?.as_ref().err()?;
        Some(format!("whether the database can be reached, or made, shows only when the code is there: {why}"))
    }

    /// Everything that must be true before anything is touched.
    pub fn require(&self, job: &Job, log: &Log) -> Result<()> {
        let manifest = &job.backup.manifest;
        if let Some(trouble) = &self.trouble {
            log.info(format!("the site here cannot be read, so the backup tells where it belongs: {trouble}"));
        }
        if !manifest.complete {
            log.warn(format!("the backup is not complete: {}", manifest.incomplete_because.join("; ")));
        }
        lacking::told(job, self)?.into_iter().for_each(|line| log.warn(line));
        if let Some(place) = &job.place {
            place.require(job, self)?;
        }
        self.unknown_connection().into_iter().for_each(|line| log.info(line));
        self.refusals(job).into_iter().next().map_or(Ok(()), Err)
    }

    /// What stands in the way of the restore, but for what is wrong with another place that was named. Nothing is touched as long as
    /// there is any of it; a plan tells all.
    pub fn refusals(&self, job: &Job) -> Vec<anyhow::Error> {
        let checks: [&dyn Fn() -> Result<()>; 6] = [
            &|| self.require_config(job),
            &|| self.require_same_site(job),
            &|| self.require_same_dataroot(job),
            &|| room::require(job, self),
            &|| self.require_database(job),
            &|| collations::require(job, self),
        ];
        checks.iter().filter_map(|check| check().err()).collect()
    }

    /// The config.php of the site, where it tells what no backup does.
    fn require_config(&self, job: &Job) -> Result<()> {
        if job.wants(&Part::Database) && !job.wants(&Part::Code) && self.site.is_none() {
            return Err(Fault::unfit("the site's config.php cannot be read, so its database cannot be reached")
                .hint("restore the code too: --only code --only database")
                .into());
        }
        if job.keep_config && self.site.is_none() {
            return Err(Fault::unfit("there is no config.php here that could be kept")
                .hint("leave out --keep-config")
                .into());
        }
        Ok(())
    }

    /// That a backup from elsewhere is of the site that is here.
    fn require_same_site(&self, job: &Job) -> Result<()> {
        match &self.site {
            Some(site) if job.place.is_none() && job.from_elsewhere => require_same_site(job, site),
            _ => Ok(()),
        }
    }

    /// That the database can be set aside, or made: it shows before anything is staged.
    fn require_database(&self, job: &Job) -> Result<()> {
        if !job.wants(&Part::Database) {
            return Ok(());
        }
        let Some(connection) = self.connection() else {
            return if self.lost.is_some() { lost_config::require_server(job) } else { Ok(()) };
        };
        match connection.session() {
            Ok(_) => self.require_movable(job, connection),
            Err(_) if job.place.is_some() => Ok(()),
            Err(_) => connection.missing(&wanted(&job.backup.manifest.database), job.admin.as_deref()).map(drop),
        }
    }

    /// That what the database holds can be set aside.
    fn require_movable(&self, job: &Job, connection: &Connection) -> Result<()> {
        let scope = Scope::without(job.backup.manifest.database.left_out.as_deref());
        connection.plan_aside("0", scope, job.admin.as_deref()).map(drop)
    }

    /// That what is gone can be made where it was: before anything is, even the dataroot for its lock.
    pub fn require_places(&self) -> Result<()> {
        [&self.root, &self.dataroot].into_iter().try_for_each(|place| require_parent(place))
    }

    /// The config.php of the backup is to lead to the same dataroot as the one here.
    fn require_same_dataroot(&self, job: &Job) -> Result<()> {
        let then = &job.backup.manifest.paths.dataroot;
        if !job.wants(&Part::Code) || job.keep_config || job.place.is_some() || *then == self.dataroot {
            return Ok(());
        }
        Err(Fault::unfit(format!(
            "the site had its dataroot at {} when it was backed up, and has it at {} now",
            then.display(),
            self.dataroot.display()
        ))
        .hint("--keep-config keeps the present config.php")
        .into())
    }

    /// Top names in the dataroot, relative to it, that an exchange leaves alone: the pool, the trash and our own folder.
    pub fn left_alone(&self) -> Vec<PathBuf> {
        let below = |path: &PathBuf| path.strip_prefix(&self.dataroot).ok().map(Path::to_path_buf);
        let mut kept: Vec<PathBuf> = [&self.filedir, &self.trashdir].into_iter().filter_map(below).collect();
        kept.extend(
            [undo::FOLDER, crate::moodle::MAINTENANCE_PAGE, crate::moodle::UNFINISHED_PAGE, "lost+found"]
                .map(PathBuf::from),
        );
        kept
    }
}

/// The web server's user: as the settings name him, or else as he was called.
pub(super) fn web_user(settings: &Settings, then: &str) -> Result<Identity> {
    let name = settings.site.web_user.as_deref().unwrap_or(then);
    Identity::by_name(name).or_fault(|| {
        Fault::unfit(format!("the web server's user was {name:?}, which this machine does not know"))
            .hint("install the web server, or set web_user in [site] of the settings to its user here")
    })
}

/// The nearest folder that is there.
pub(super) fn there(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// A place that is gone with the folder above it is on a disk that is not mounted, as a rule.
fn require_parent(place: &Path) -> Result<()> {
    let above = files::parent(place);
    if above.is_dir() {
        return Ok(());
    }
    Err(Fault::unfit(format!("there is no folder {}, in which {} was", above.display(), place.display()))
        .hint("is its file system mounted? if it is meant to be a new place, make the folder")
        .into())
}
