//! What the database says, in the kit's words.

use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};

use crate::kit::error::Error;

/// PostgreSQL's words for what passes, in English: diesel does not hand on its codes.
///
/// By code: 55P03, 57014, 57P01, 57P03, 53300, 53100, 53200, 58030, 25P03.
const POSTGRES_PASSES: [&str; 19] = [
    "due to lock timeout",
    "due to statement timeout",
    "idle-in-transaction timeout",
    "terminating connection",
    "shutting down",
    "starting up",
    "recovery mode",
    "too many clients",
    "connection slots",
    "No space left on device",
    "could not extend file",
    "could not write",
    "out of memory",
    "out of shared memory",
    // its client's, where the connection is found lost
    "server closed the connection",
    "could not send data to server",
    "could not receive data from server",
    "connection has been closed unexpectedly",
    "no connection to the server",
];

/// SQLite's, of which there are no translations.
const SQLITE_PASSES: [&str; 6] = [
    "database is locked",
    "locking protocol",
    "database or disk is full",
    "disk I/O error",
    "attempt to write a readonly database",
    "unable to open database file",
];

/// What our own triggers say to a server that works with what is over: it passes once that server has heard of it.
const OUR_OWN_PASSES: &str = "is retired: nothing is sealed under it";

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match error {
            Diesel::DatabaseError(kind, info) => {
                let message = info.message().to_owned();
                let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
                match kind {
                    Kind::UniqueViolation => Error::Duplicate(message),
                    Kind::SerializationFailure => Error::Retry(message),
                    Kind::ClosedConnection | Kind::UnableToSendCommand | Kind::ReadOnlyTransaction => {
                        Error::Unavailable(message)
                    }
                    // PostgreSQL says "deadlock" in every language
                    _ if message.contains("deadlock") => Error::Retry(message),
                    _ if says(&POSTGRES_PASSES) || says(&SQLITE_PASSES) || says(&[OUR_OWN_PASSES]) => {
                        Error::Unavailable(message)
                    }
                    _ => Error::Internal(message),
                }
            }
            Diesel::RollbackErrorOnCommit { commit_error, .. } => (*commit_error).into(),
            // the connection was lost in mid-transaction
            Diesel::BrokenTransactionManager => Error::Unavailable(Diesel::BrokenTransactionManager.to_string()),
            other => Error::Internal(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_unavailable_however_it_shows() {
        let told = |kind, message: &str| Error::from(Diesel::DatabaseError(kind, Box::new(message.to_owned())));
        let closed =
            "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally";
        for (kind, message) in [
            (Kind::Unknown, closed),
            (Kind::ClosedConnection, closed),
            (Kind::UnableToSendCommand, ""),
            (Kind::Unknown, "terminating connection due to unexpected postmaster exit"),
            (Kind::Unknown, "could not send data to server: Broken pipe"),
        ] {
            assert!(matches!(told(kind, message), Error::Unavailable(_)), "{message}");
        }
        assert!(matches!(Error::from(Diesel::BrokenTransactionManager), Error::Unavailable(_)));
        assert!(matches!(told(Kind::Unknown, "division by zero"), Error::Internal(_)));
    }
}
