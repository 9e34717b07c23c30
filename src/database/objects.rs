//! What stands in a schema of PostgreSQL, and the statements that move, drop or give away all of it. What belongs to an extension
//! stays with that. When and why is not decided here.

use super::{Connection, Session};
use crate::error::{Fault, Result};
use crate::sys::human;

/// Something in a schema: table, view, sequence, routine or type.
#[derive(Debug)]
struct Object {
    /// The word by which statements call it.
    kind: String,
    /// Its name, with that of the schema, as it is written in a statement.
    name: String,
    /// Whether this account may do with it what its owner may.
    is_own: bool,
}

/// What stands in a schema, in an order in which it can be moved: views last, and tables before what is made of them.
#[derive(Debug)]
pub struct Objects(Vec<Object>);

impl Objects {
    /// Looks at a schema. Sequences that belong to a column of a table go with that, and are not named.
    pub fn of(session: &mut Session, schema: &str) -> Result<Objects> {
        let schema = session.connection().sql_text(schema);
        let rows = session.query(&format!(
            "SELECT kind, name, pg_catalog.pg_has_role(owner, 'USAGE')::text FROM (\
             SELECT CASE relkind WHEN 'v' THEN 3 WHEN 'm' THEN 3 WHEN 'S' THEN 2 ELSE 1 END AS rank, \
             CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' \
             WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind, \
             pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, relowner AS owner \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {schema} AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND {own_class} \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass \
             AND d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i')) \
             UNION ALL SELECT 4, 'ROUTINE', p.oid::regprocedure::text, proowner \
             FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
             WHERE n.nspname = {schema} AND {own_proc} \
             UNION ALL SELECT 0, 'TYPE', pg_catalog.format('%I.%I', n.nspname, t.typname), typowner \
             FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
             WHERE n.nspname = {schema} AND t.typtype IN ('d', 'e') AND {own_type}\
             ) AS all_of_them ORDER BY rank, name",
            own_class = of_no_extension("pg_class", "c"),
            own_proc = of_no_extension("pg_proc", "p"),
            own_type = of_no_extension("pg_type", "t"),
        ))?;
        let object = |row: Vec<Option<String>>| {
            let [kind, name, owned] = <[Option<String>; 3]>::try_from(row).ok()?;
            Some(Object { kind: kind?, name: name?, is_own: owned? == "true" })
        };
        Ok(Objects(rows.into_iter().filter_map(object).collect()))
    }

    /// The statements that move everything to another schema.
    pub fn moves(&self, connection: &Connection, to: &str) -> String {
        let to = connection.sql_name(to);
        self.statements(|Object { kind, name, .. }| format!("ALTER {kind} {name} SET SCHEMA {to};"))
    }

    /// The statements that drop everything. They take no room on the server's disk, and give some back.
    pub fn drops(&self) -> String {
        self.statements(|Object { kind, name, .. }| format!("DROP {kind} IF EXISTS {name} CASCADE;"))
    }

    fn statements(&self, statement: impl Fn(&Object) -> String) -> String {
        self.0.iter().map(statement).collect::<Vec<_>>().join("\n")
    }

    /// An error that names what this account does not own, and so can neither move nor drop.
    pub fn require_own(&self, connection: &Connection) -> Result<()> {
        let account = connection.sql_name(&connection.user);
        let others: Vec<String> = (self.0.iter().filter(|object| !object.is_own))
            .map(|Object { kind, name, .. }| format!("ALTER {kind} {name} OWNER TO {account};"))
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        let words = format!(
            "{} of the {} belong to others, so {} cannot set them aside",
            human::count(others.len() as u64, "object"),
            connection.title(),
            connection.account()
        );
        let hint = format!("as an administrator of that database: {}", others.join(" "));
        Err(Fault::unfit(words).hint(hint).into())
    }
}

/// The condition that an object of a catalogue belongs to no extension.
fn of_no_extension(catalogue: &str, object: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.{catalogue}'::regclass \
         AND d.objid = {object}.oid AND d.deptype = 'e')"
    )
}
