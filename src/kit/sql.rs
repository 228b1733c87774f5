//! How the kit's types are stored, on each of the two databases.
//!
//! | type | PostgreSQL | SQLite |
//! |---|---|---|
//! | `Id` | uuid | BLOB of 16 bytes |
//! | `Instant` | timestamptz | INTEGER, microseconds since 1970 UTC |
//! | `Day` | date | TEXT, `YYYY-MM-DD` |
//! | `Cents` | int8 | INTEGER |

use std::io::Write;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types;
use diesel::sqlite::Sqlite;
use uuid::Uuid;

use super::id::Id;
use super::money::Cents;
use super::time::{Day, Instant};

/// SQL types that exist on both databases.
pub mod ty {
    use diesel::query_builder::QueryId;
    use diesel::sql_types::SqlType;

    #[derive(SqlType, QueryId, Debug, Clone, Copy, Default)]
    #[diesel(postgres_type(oid = 2950, array_oid = 2951), sqlite_type(name = "Binary"))]
    pub struct Id;

    #[derive(SqlType, QueryId, Debug, Clone, Copy, Default)]
    #[diesel(postgres_type(oid = 1184, array_oid = 1185), sqlite_type(name = "Long"))]
    pub struct Instant;

    #[derive(SqlType, QueryId, Debug, Clone, Copy, Default)]
    #[diesel(postgres_type(oid = 1082, array_oid = 1182), sqlite_type(name = "Text"))]
    pub struct Day;

    impl diesel::sql_types::SqlOrd for Id {}
    impl diesel::sql_types::SqlOrd for Instant {}
    impl diesel::sql_types::SqlOrd for Day {}
}

impl<K> ToSql<ty::Id, Pg> for Id<K> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl<K> FromSql<ty::Id, Pg> for Id<K> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Id::from_uuid(Uuid::from_slice(value.as_bytes())?))
    }
}

impl<K> ToSql<ty::Id, Sqlite> for Id<K> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(&self.as_bytes()[..]);
        Ok(IsNull::No)
    }
}

impl<K> FromSql<ty::Id, Sqlite> for Id<K> {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<sql_types::Binary, Sqlite>>::from_sql(value)?;
        Ok(Id::from_uuid(Uuid::from_slice(&bytes)?))
    }
}

/// PostgreSQL counts from 2000-01-01T00:00:00Z.
const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl ToSql<ty::Instant, Pg> for Instant {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&(self.as_microsecond() - PG_EPOCH_MICROS).to_be_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<ty::Instant, Pg> for Instant {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Instant::from_microsecond(i64::from_be_bytes(value.as_bytes().try_into()?) + PG_EPOCH_MICROS))
    }
}

impl ToSql<ty::Instant, Sqlite> for Instant {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.as_microsecond());
        Ok(IsNull::No)
    }
}

impl FromSql<ty::Instant, Sqlite> for Instant {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <i64 as FromSql<sql_types::BigInt, Sqlite>>::from_sql(value).map(Instant::from_microsecond)
    }
}

impl ToSql<ty::Day, Pg> for Day {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&self.since_2000().to_be_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<ty::Day, Pg> for Day {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Day::from_days_since_2000(i32::from_be_bytes(value.as_bytes().try_into()?)))
    }
}

impl ToSql<ty::Day, Sqlite> for Day {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.to_string());
        Ok(IsNull::No)
    }
}

impl FromSql<ty::Day, Sqlite> for Day {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<sql_types::Text, Sqlite>>::from_sql(value)?.parse().map_err(Into::into)
    }
}

impl<DB: Backend> ToSql<sql_types::BigInt, DB> for Cents
where
    i64: ToSql<sql_types::BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<sql_types::BigInt, DB> for Cents
where
    i64: FromSql<sql_types::BigInt, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(value).map(Cents)
    }
}
