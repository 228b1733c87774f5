//! Passwords, kept as argon2id hashes. Hashing takes memory and a tenth of a second: never inside a transaction.

use std::fmt;
use std::str::FromStr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{self, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use serde::{Deserialize, Deserializer};

use super::{Settings, common};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, Result};
use crate::kit::text::{Email, from_string};

/// A password that somebody chooses: 12 to 200 characters, taken as they are, and not among the first to be guessed.
pub struct Password(String);

impl FromStr for Password {
    type Err = Complaint;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if !(12..=200).contains(&text.chars().count()) {
            return Err(Complaint::Length { least: 12, most: 200 });
        }
        common::objection(text).map_or_else(|| Ok(Password(text.to_owned())), Err)
    }
}

impl Password {
    /// Whether it will do for somebody with this login.
    pub fn suits(&self, email: &Email) -> std::result::Result<(), Complaint> {
        match common::contains_login(&self.0, email.as_str()) {
            true => Err(Complaint::PasswordNamesPerson),
            false => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from_string(from)
    }
}

/// A hashed password, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(String);

impl Hash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

fn params(settings: &Settings) -> Result<Params> {
    Params::new(settings.password_memory_kib, settings.password_iterations, 1, None)
        .map_err(|e| Error::Internal(format!("the settings of password hashing cannot be used: {e}")))
}

/// Hashes a new password with the parameters of `settings`.
pub fn hash(settings: &Settings, password: &Password) -> Result<Hash> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params(settings)?);
    let _turn = TURNS.take()?;
    let hash: PasswordHash = argon2.hash_password(password.0.as_bytes()).map_err(Error::internal)?;
    Ok(Hash(hash.to_string()))
}

/// Whether `password` is the one behind `stored`, by the parameters that `stored` names.
///
/// Without a stored hash the answer is no, after the same work: time does not tell who has an account.
pub fn verify(settings: &Settings, password: &str, stored: Option<&str>) -> Result<bool> {
    let nobody;
    let hash = match stored {
        Some(stored) => stored,
        None => {
            nobody = nobodys_hash(settings);
            &nobody
        }
    };
    let hash =
        PasswordHash::new(hash).map_err(|e| Error::Internal(format!("a stored password hash is broken: {e}")))?;
    let _turn = TURNS.take()?;
    match Argon2::default().verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(stored.is_some()),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(e) => Err(Error::Internal(format!("a password cannot be verified: {e}"))),
    }
}

/// A hash with today's parameters whose password nobody knows.
fn nobodys_hash(settings: &Settings) -> String {
    let Settings { password_memory_kib: memory, password_iterations: passes, .. } = settings;
    let (salt, output) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${output}")
}

/// How many passwords are hashed at once: each takes the settings' memory.
static TURNS: Turns = Turns { free: Mutex::new(2), freed: Condvar::new() };

/// Who has waited that long for a turn is told to come again, so that a flood of logins does not hold every thread.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

struct Turns {
    free: Mutex<u32>,
    freed: Condvar,
}

struct Turn<'a>(&'a Turns);

impl Turns {
    fn take(&self) -> Result<Turn<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) = self
            .freed
            .wait_timeout_while(free, LONGEST_WAIT, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        if *free == 0 {
            return Err(Error::Unavailable("too many passwords are being checked at once".to_owned()));
        }
        *free -= 1;
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn settings(memory: u32, passes: u32) -> Settings {
        Settings {
            issuer: "primeur".to_owned(),
            audience: "primeur".to_owned(),
            access_minutes: 15,
            session_hours: 12,
            invitation_hours: 72,
            password_memory_kib: memory,
            password_iterations: passes,
            second_factor_required: true,
        }
    }

    #[test]
    fn a_password_has_12_to_200_characters_not_bytes() {
        let long: String = "été, œuf, maïs, pâté ! ".chars().cycle().take(201).collect();
        let of = |characters| long.chars().take(characters).collect::<String>().parse::<Password>().map(drop);
        let wrong_length = Err(Complaint::Length { least: 12, most: 200 });
        assert_eq!(of(11), wrong_length);
        assert_eq!((of(12), of(20)), (Ok(()), Ok(())));
        assert_eq!(of(201), wrong_length);
        let varied: String = (0..200_u8).map(|n| char::from(b'a' + n.wrapping_mul(n) % 23)).collect();
        assert!(varied.parse::<Password>().is_ok());
    }

    #[test]
    fn only_the_right_password_fits_its_hash_even_after_the_settings_changed() {
        let password: Password = "une phrase bien à nous".parse().unwrap();
        let hash = hash(&settings(64, 2), &password).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{}", hash.as_str());
        let later = settings(128, 1);
        assert_eq!(verify(&later, "une phrase bien à nous", Some(hash.as_str())), Ok(true));
        assert_eq!(verify(&later, "une phrase bien à nous ", Some(hash.as_str())), Ok(false));
        assert!(verify(&later, "une phrase bien à nous", Some("not a hash")).is_err());
    }

    #[test]
    fn somebody_unknown_is_refused_at_the_cost_of_a_real_check() {
        let settings = settings(64, 1);
        assert_eq!(verify(&settings, "une phrase bien à nous", None), Ok(false));
        let real = hash(&settings, &"une phrase bien à nous".parse().unwrap()).unwrap();
        let shape = |text: &str| text.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let nobody = nobodys_hash(&settings);
        assert_eq!(shape(&nobody), shape(real.as_str()));
        assert_eq!(nobody.len(), real.as_str().len());
    }

    #[test]
    fn no_more_than_the_given_number_take_a_turn_at_once() {
        let turns = Turns { free: Mutex::new(2), freed: Condvar::new() };
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _turn = turns.take().unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
