//! What a person's telephone does: the codes of a secret.

use data_encoding::BASE32_NOPAD;
use primeur::kit::time::Instant;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret, Totp};

use super::Client;
use super::world::PASSWORD;

pub struct Authenticator(Totp);

impl Authenticator {
    /// Begins with a new authenticator, showing a code where one is in force and the password where none is.
    #[track_caller]
    pub fn begun(person: &Client, code: Option<&str>) -> Self {
        let shown = match code {
            Some(code) => json!({ "code": code }),
            None => json!({ "password": PASSWORD }),
        };
        let begun = person.post("/api/v1/access/second-factor", shown).expect(201);
        let secret = begun["secret"].as_str().unwrap();
        assert!(begun["otpauth_url"].as_str().unwrap().contains(&format!("?secret={secret}&")), "{begun}");
        let bytes = BASE32_NOPAD.decode(secret.as_bytes()).unwrap().try_into().unwrap();
        Authenticator(Builder::new().with_secret(Secret::new_stack(bytes)).build().unwrap())
    }

    /// Sets one up and puts it in force; with the recovery codes.
    #[track_caller]
    pub fn in_force(person: &Client, now: Instant) -> (Self, Vec<String>) {
        let authenticator = Self::begun(person, None);
        let confirmed = confirm(person, &authenticator.code(now));
        (authenticator, confirmed)
    }

    /// The code that it shows at a moment.
    pub fn code(&self, now: Instant) -> String {
        self.0.generate(u64::try_from(now.as_second()).unwrap()).to_string()
    }

    pub fn secret(&self) -> &[u8] {
        self.0.secret().as_bytes()
    }
}

/// Puts what was begun in force: the recovery codes.
#[track_caller]
pub fn confirm(person: &Client, code: &str) -> Vec<String> {
    let confirmed = person.post("/api/v1/access/second-factor/confirm", json!({ "code": code })).expect(200);
    codes(&confirmed)
}

pub fn codes(answer: &Value) -> Vec<String> {
    let codes = answer["recovery_codes"].as_array().unwrap();
    codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}
