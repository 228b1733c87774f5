//! Access tokens: JWTs signed with Ed25519 and nothing else (RFC 8037, RFC 9068).

use std::sync::OnceLock;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Role, Settings};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{OrganisationId, PersonId, SessionId};
use crate::kit::keys::{KeyId, KeyRing};
use crate::kit::time::Instant;

const TYPE: &str = "at+jwt";

/// How far ahead another node's clock may be.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// What an access token says. Only `sid` and `sub` decide anything here; the rest is for those who read it elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: PersonId,
    pub org: OrganisationId,
    pub role: Role,
    pub sid: SessionId,
    pub iat: i64,
    pub exp: i64,
}

/// Writes a token with the key that signs when it is issued.
pub fn sign(keys: &KeyRing, claims: &Claims) -> Result<String> {
    install();
    let (id, key) = keys.at(Instant::from_microsecond(claims.iat.saturating_mul(1_000_000)));
    let header = Header { typ: Some(TYPE.to_owned()), kid: Some(id.to_string()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(key.as_bytes())).map_err(Error::internal)
}

/// Reads a token that is good at `now`, and tells which key has signed it; anything else is `unauthenticated`, whatever is
/// wrong with it.
pub fn verify(keys: &KeyRing, settings: &Settings, now: Instant, token: &str) -> Result<(Claims, KeyId)> {
    read(keys, settings, now, token).ok_or(Error::Refused(Code::Unauthenticated))
}

fn read(keys: &KeyRing, settings: &Settings, now: Instant, token: &str) -> Option<(Claims, KeyId)> {
    install();
    let header = jsonwebtoken::decode_header(token).ok()?;
    // an extension that the token calls critical must be understood (RFC 7515 4.1.11), and we know none
    if header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
        return None;
    }
    let id = key_id(&header.kid?)?;
    let key = keys.public(id)?;

    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.set_issuer(&[&settings.issuer]);
    rules.set_audience(&[&settings.audience]);
    // the library reads the system's clock, we are handed ours: see below
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ed_der(key.as_bytes()), &rules).ok()?.claims;

    let now = now.as_second();
    (claims.iat <= now + CLOCK_SKEW_SECONDS && now < claims.exp).then_some((claims, id))
}

fn key_id(text: &str) -> Option<KeyId> {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(KeyId)
}

/// Tells the JWT library to use our Ed25519, and to refuse every other algorithm by having none.
fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| EDDSA_ONLY.install_default().expect("nobody else installs a provider in this process"));
}

static EDDSA_ONLY: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => {
            let seed = key.as_bytes().try_into().map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(Sign(SigningKey::from_bytes(seed))))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => {
            let public = key.try_get_as_bytes()?.try_into().map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(Verify(VerifyingKey::from_bytes(public).map_err(|_| ErrorKind::InvalidEddsaKey)?)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Sign(SigningKey);

impl signature::Signer<Vec<u8>> for Sign {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

impl JwtSigner for Sign {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct Verify(VerifyingKey);

impl signature::Verifier<Vec<u8>> for Verify {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let signature = Signature::from_slice(signature).map_err(|_| signature::Error::new())?;
        self.0.verify_strict(message, &signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verify {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;
    use crate::kit::keys::{Keys, random};

    struct Bench {
        keys: Keys,
        settings: Settings,
        now: Instant,
        claims: Claims,
    }

    fn bench() -> Bench {
        let dir =
            std::env::temp_dir().join(format!("primeur-token-{}", data_encoding::HEXLOWER.encode(&random::<8>())));
        let now = Instant::from_microsecond(1_782_900_000_500_000);
        let keys = Keys::create(&dir, now).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let settings = Settings {
            issuer: "https://primeur.example".to_owned(),
            audience: "primeur-api".to_owned(),
            access_minutes: 15,
            session_hours: 12,
            invitation_hours: 72,
            password_memory_kib: 64,
            password_iterations: 1,
            second_factor_required: true,
        };
        let claims = Claims {
            iss: settings.issuer.clone(),
            aud: settings.audience.clone(),
            sub: PersonId::new(now),
            org: OrganisationId::new(now),
            role: Role::SocialWorker,
            sid: SessionId::new(now),
            iat: now.as_second(),
            exp: now.as_second() + 900,
        };
        Bench { keys, settings, now, claims }
    }

    impl Bench {
        fn accepts(&self, token: &str) -> bool {
            let read = verify(&self.keys.login, &self.settings, self.now, token);
            assert!(read.is_ok() || read == Err(Error::Refused(Code::Unauthenticated)));
            read.is_ok()
        }

        /// A token with the right signature over any header and claims.
        fn forge(&self, header: &str, claims: &str) -> String {
            let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
            let message = format!("{}.{}", encode(header), encode(claims));
            let signature = self.keys.login.current().1.sign(message.as_bytes()).to_bytes();
            format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
        }
    }

    #[test]
    fn a_token_reads_back_until_the_second_it_expires() {
        let bench = bench();
        let token = sign(&bench.keys.login, &bench.claims).unwrap();
        let read = |seconds| {
            let read = verify(&bench.keys.login, &bench.settings, bench.now.plus_seconds(seconds), &token);
            read.map(|(claims, _)| claims)
        };
        assert_eq!(read(0).as_ref(), Ok(&bench.claims));
        assert!(read(899).is_ok());
        assert!(read(900).is_err());
        assert!(read(-3600).is_err(), "a token of the future");
    }

    #[test]
    fn a_token_of_another_issuer_audience_or_key_is_refused() {
        let bench = bench();
        let signed = |change: &dyn Fn(&mut Claims)| {
            let mut claims = bench.claims.clone();
            change(&mut claims);
            sign(&bench.keys.login, &claims).unwrap()
        };
        assert!(bench.accepts(&signed(&|_| ())));
        assert!(!bench.accepts(&signed(&|claims| claims.iss = "https://elsewhere.example".to_owned())));
        assert!(!bench.accepts(&signed(&|claims| claims.aud = "another-api".to_owned())));
        // a key of this deployment, but of another purpose
        assert!(!bench.accepts(&sign(&bench.keys.voucher, &bench.claims).unwrap()));
    }

    #[test]
    fn only_eddsa_of_the_right_type_and_key_id_is_read() {
        let bench = bench();
        let kid = bench.keys.login.current().0.to_string();
        let claims = serde_json::to_string(&bench.claims).unwrap();
        let header = |alg: &str, typ: &str, kid: &str, more: &str| {
            format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"{more}}}"#)
        };
        assert!(bench.accepts(&bench.forge(&header("EdDSA", "at+jwt", &kid, ""), &claims)));
        for bad in [
            header("none", "at+jwt", &kid, ""),
            header("HS256", "at+jwt", &kid, ""),
            header("RS256", "at+jwt", &kid, ""),
            header("EdDSA", "JWT", &kid, ""),
            header("EdDSA", "at+jwt", "00000000", ""),
            header("EdDSA", "at+jwt", "../../etc", ""),
            header("EdDSA", "at+jwt", &kid, r#","crit":["exp"]"#),
            r#"{"alg":"EdDSA","typ":"at+jwt"}"#.to_owned(),
        ] {
            assert!(!bench.accepts(&bench.forge(&bad, &claims)), "{bad}");
        }
    }

    #[test]
    fn a_token_without_a_claim_or_with_a_changed_byte_is_refused() {
        let bench = bench();
        let token = sign(&bench.keys.login, &bench.claims).unwrap();
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, bench.keys.login.current().0);
        for missing in ["iss", "aud", "sub", "sid", "iat", "exp"] {
            let mut claims = serde_json::to_value(&bench.claims).unwrap();
            claims.as_object_mut().unwrap().remove(missing);
            assert!(!bench.accepts(&bench.forge(&header, &claims.to_string())), "{missing}");
        }
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (head, body) = message.split_once('.').unwrap();
        assert!(!bench.accepts(&format!("{head}.{}.{signature}", body.replacen('e', "f", 1))));
        assert!(!bench.accepts(&format!("{message}.")));
        assert!(!bench.accepts(message));
        assert!(!bench.accepts(""));
    }
}
