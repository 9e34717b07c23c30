//! Whether the database server here knows by which rules the texts of the backup are sorted: MySQL and MariaDB have some that the
//! other, or an older one, does not know, and a dump that names one is loaded up to that table. Changes nothing.

use super::{Here, Job, environment};
use crate::error::{Fault, Result};
use crate::store::Part;

/// An error if there are collations in the backup that the server here does not know. Where it cannot be asked, the load will tell.
pub(super) fn require(job: &Job, here: &Here) -> Result<()> {
    let then = &job.backup.manifest.database;
    if !job.wants(&Part::Database) {
        return Ok(());
    }
    let Ok(server) = environment::server(job, here) else { return Ok(()) };
    let unknown = server.unknown_collations(&then.collations, job.admin.as_deref()).unwrap_or_default();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Fault::unfit(format!(
        "the database server on {} does not know collations that the backup has: {}",
        server.place(),
        unknown.join(", ")
    ))
    .hint(format!(
        "use a server such as the backup is of ({} {}; MariaDB knows MySQL's from 11.4.5 on); or, where the site itself is still there, \
         change its tables by admin/cli/mysql_collation.php --collation=utf8mb4_unicode_ci and back it up once more; or load the \
         dump by hand, as RESTORE.txt of the backup tells",
        then.engine, then.server_version
    ))
    .into())
}
