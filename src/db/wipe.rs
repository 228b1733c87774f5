//! Taking what was deleted out of the files too: each database keeps it a while in a way of its own.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

/// What stands in the way of a wipe.
pub type Obstacle = &'static str;

const SOMEBODY_READS: Obstacle = "somebody reads what was there before";

pub fn sqlite(conn: &mut SqliteConnection) -> QueryResult<Option<Obstacle>> {
    #[derive(QueryableByName)]
    struct Checkpoint {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        busy: i32,
    }
    // writers wait meanwhile: not for as long as they would for each other
    conn.batch_execute("PRAGMA busy_timeout = 2000;")?;
    let done = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result::<Checkpoint>(conn);
    Ok((done?.busy != 0).then_some(SOMEBODY_READS))
}

/// A plain VACUUM would leave the bytes in the page, until something else needs the room. Where somebody may still see
/// what was there before, it would be copied too; and a table of another role's is passed over with a mere warning.
pub fn postgresql(conn: &mut PgConnection, tables: &[&str]) -> QueryResult<Option<Obstacle>> {
    #[derive(QueryableByName)]
    struct Text {
        #[diesel(sql_type = diesel::sql_types::Text)]
        text: String,
    }
    let said = |conn: &mut PgConnection, sql: &str| -> QueryResult<String> {
        Ok(diesel::sql_query(sql).get_result::<Text>(conn)?.text)
    };
    // all that was erased is older than this transaction: wait until every older one has ended
    let since = said(conn, "SELECT pg_current_xact_id()::text AS text")?;
    let unseen = format!(
        "SELECT (pg_snapshot_xmin(pg_current_snapshot()) >= '{since}'::xid8 AND NOT EXISTS (
           SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND age(backend_xmin) > age('{since}'::xid8::xid)
             AND COALESCE(datname = current_database(), true)))::text AS text"
    );
    let mut tries = 0;
    while said(conn, &unseen)? != "true" {
        tries += 1;
        if tries == 40 {
            return Ok(Some(SOMEBODY_READS));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    conn.batch_execute("SET lock_timeout = '2s'")?;
    for table in tables {
        let file = format!("SELECT pg_relation_filenode('{table}')::text AS text");
        let before = said(conn, &file)?;
        conn.batch_execute(&format!("VACUUM (FULL) {table}"))?;
        if said(conn, &file)? == before {
            return Ok(Some("only the owner of the tables may write them anew"));
        }
    }
    Ok(None)
}
