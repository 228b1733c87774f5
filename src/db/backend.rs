//! One connection type over PostgreSQL and SQLite, and the kit's types on it.

use diesel::deserialize::{self, FromSql};
use diesel::pg::PgConnection;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::HasSqlType;
use diesel::sqlite::SqliteConnection;

use crate::kit::id::Id;
use crate::kit::sql::ty;
use crate::kit::time::{Day, Instant};

#[derive(diesel::MultiConnection)]
pub enum Conn {
    Pg(PgConnection),
    Sqlite(SqliteConnection),
}

/// What `MultiConnection` asks of an SQL type of our own: hand it on to the database in use.
macro_rules! on_both {
    ($sql:ty, $rust:ty $(, $kind:ident)?) => {
        impl$(<$kind>)? ToSql<$sql, MultiBackend> for $rust {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, MultiBackend>) -> serialize::Result {
                out.set_value((<$sql>::default(), self));
                Ok(IsNull::No)
            }
        }

        impl$(<$kind: 'static>)? FromSql<$sql, MultiBackend> for $rust {
            fn from_sql(raw: MultiRawValue<'_>) -> deserialize::Result<Self> {
                raw.from_sql::<Self, $sql>()
            }
        }

        impl HasSqlType<$sql> for MultiBackend {
            fn metadata(lookup: &mut Self::MetadataLookup) -> Self::TypeMetadata {
                Self::lookup_sql_type::<$sql>(lookup)
            }
        }
    };
}

on_both!(ty::Id, Id<K>, K);
on_both!(ty::Instant, Instant);
on_both!(ty::Day, Day);
