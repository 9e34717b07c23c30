//! What others may do with the tables of a database of PostgreSQL, such as an account for reports: no dump has that, so what was
//! loaded gets the rights on what was set aside. MariaDB and MySQL keep them by the tables' names, and have nothing to do.

use super::{Aside, Connection, Session};
use crate::error::Result;

/// All rights that others than the owner have on tables, views and sequences, and on single columns of them.
const RIGHTS: &str = "\
WITH things AS (\
    SELECT c.oid, c.relname AS name, n.nspname AS schema, c.relowner AS owner, c.relacl AS acl, \
        CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')\
), rights AS (\
    SELECT t.schema, t.name, t.kind, NULL AS attribute, t.owner, a.* \
    FROM things t, pg_catalog.aclexplode(t.acl) a \
    UNION ALL \
    SELECT t.schema, t.name, t.kind, c.attname, t.owner, a.* \
    FROM things t JOIN pg_catalog.pg_attribute c ON c.attrelid = t.oid, pg_catalog.aclexplode(c.attacl) a \
    WHERE NOT c.attisdropped\
), named AS (\
    SELECT r.*, CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.grantee)) END AS who \
    FROM rights r WHERE r.grantee <> r.owner\
)";

impl Connection {
    /// What was loaded may be used by those who may use what was set aside under the same name, and by nobody else: rights that new
    /// tables get by themselves may have been taken from some of them. Says how many rights were given.
    pub fn give_back_grants(&self, aside: &Aside) -> Result<u64> {
        let Some((live, old)) = aside.schemas() else { return Ok(0) };
        let (revoked, granted) = statements(&mut self.session()?, live, old)?;
        if !revoked.is_empty() || !granted.is_empty() {
            let what = "give back what others may do with the tables";
            self.execute(what, &[revoked, granted.clone()].concat().join("\n"))?;
        }
        Ok(granted.len() as u64)
    }
}

/// Those that take what new tables got by themselves, and those that give what the old ones had. What the backup does not have is
/// left out.
fn statements(session: &mut Session, live: &str, old: &str) -> Result<(Vec<String>, Vec<String>)> {
    let connection = session.connection();
    let (live, old) = (connection.sql_text(live), connection.sql_text(old));
    let on = format!("pg_catalog.format('%s %I.%I', kind, {live}, name)");
    let has = |schema: &str| {
        format!(
            "EXISTS (SELECT FROM things t WHERE t.schema = {schema} AND t.name = named.name AND t.kind = named.kind)"
        )
    };
    let attribute = format!(
        "attribute IS NULL OR EXISTS (SELECT FROM things t JOIN pg_catalog.pg_attribute c ON c.attrelid = t.oid \
         WHERE t.schema = {live} AND t.name = named.name AND c.attname = attribute AND NOT c.attisdropped)"
    );
    let revoke = format!(
        "{RIGHTS} SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s;', {on}, who) FROM named \
         WHERE schema = {live} AND {} ORDER BY 1",
        has(&old)
    );
    let grant = format!(
        "{RIGHTS} SELECT pg_catalog.format('GRANT %s%s ON %s TO %s%s;', privilege_type, '(' || pg_catalog.quote_ident(attribute) || ')', \
         {on}, who, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END) FROM named \
         WHERE schema = {old} AND {} AND ({attribute}) ORDER BY 1",
        has(&live)
    );
    let mut asked =
        |sql: &str| -> Result<Vec<String>> { Ok(session.query(sql)?.into_iter().flatten().flatten().collect()) };
    Ok((asked(&revoke)?, asked(&grant)?))
}
