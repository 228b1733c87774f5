//! What the database says, in the kit's words.

use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};

use crate::kit::error::Error;

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match error {
            Diesel::DatabaseError(kind, info) => {
                let message = info.message().to_owned();
                match kind {
                    Kind::UniqueViolation => Error::Duplicate(message),
                    Kind::SerializationFailure => Error::Retry(message),
                    Kind::ClosedConnection => Error::Unavailable(message),
                    // PostgreSQL says "deadlock" in every language, and diesel does not hand on its code
                    _ if message.contains("deadlock") || message.contains("database is locked") => {
                        Error::Retry(message)
                    }
                    _ => Error::Internal(message),
                }
            }
            Diesel::RollbackErrorOnCommit { commit_error, .. } => (*commit_error).into(),
            other => Error::Internal(other.to_string()),
        }
    }
}
