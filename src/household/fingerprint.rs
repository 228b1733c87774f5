//! By what two households are found to be alike, without opening a seal: keyed digests of what they said, however it
//! was written. Without the deployment's secret nobody can try names against them.

use super::Identity;
use crate::kit::keys::{Digest32, Secret};
use crate::kit::phone::Phone;
use crate::kit::text::{Email, fold};
use crate::kit::time::Day;

crate::text_enum! {
    /// What a fingerprint is of.
    pub enum Kind {
        /// Family name, first name and date of birth: the same person.
        Person = "person",
        /// Family name and first name.
        Name = "name",
        Phone = "phone",
        Email = "email",
    }
}

pub type Fingerprint = (Kind, Digest32);

/// Every fingerprint that an identity leaves.
pub fn fingerprints(secret: &Secret, identity: &Identity) -> Vec<Fingerprint> {
    let Identity { family_name, first_name, birth_date, phone, email } = identity;
    let names = family_name.as_ref().zip(first_name.as_ref()).map(|(family, first)| (family.as_str(), first.as_str()));
    let person = names.zip(*birth_date).and_then(|((family, first), born)| person(secret, family, first, born));
    let name = names.and_then(|(family, first)| name(secret, family, first));
    let phone = phone.as_ref().map(|phone| self::phone(secret, phone));
    let email = email.as_ref().map(|email| self::email(secret, email));
    [person, name, phone, email].into_iter().flatten().collect()
}

/// None where a name has no letter to go by.
pub fn person(secret: &Secret, family: &str, first: &str, born: Day) -> Option<Fingerprint> {
    Some((Kind::Person, secret.digest("household person", format!("{}|{born}", folded(family, first)?).as_bytes())))
}

pub fn name(secret: &Secret, family: &str, first: &str) -> Option<Fingerprint> {
    Some((Kind::Name, secret.digest("household name", folded(family, first)?.as_bytes())))
}

pub fn phone(secret: &Secret, phone: &Phone) -> Fingerprint {
    (Kind::Phone, secret.digest("household phone", phone.e164().as_bytes()))
}

pub fn email(secret: &Secret, email: &Email) -> Fingerprint {
    (Kind::Email, secret.digest("household email", email.as_str().as_bytes()))
}

fn folded(family: &str, first: &str) -> Option<String> {
    let (family, first) = (fold(family), fold(first));
    (!family.is_empty() && !first.is_empty()).then(|| format!("{family}|{first}"))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// What databases hold: reckoned by another program, from the words of this file.
    #[test]
    fn a_fingerprint_is_the_same_for_ever() {
        let said = Identity {
            family_name: "D’Hérouville-Cœur".parse().ok(),
            first_name: "François\u{a0}Noël".parse().ok(),
            birth_date: "1987-03-14".parse().ok(),
            ..Identity::default()
        };
        let prints = fingerprints(&Secret::new([7; 32]), &said);
        let prints: Vec<_> = prints.iter().map(|(kind, digest)| (*kind, HEXLOWER.encode(digest))).collect();
        let golden = [
            (Kind::Person, "dca233c85fc0ffe36e97981a4dc312e6e6e7fd9b8d992662036bc70ef5e12fb8"),
            (Kind::Name, "cff6a1d03b9ae76fc6b42817536c75a33514f646ed790f8aa3c30338813a067a"),
        ];
        assert_eq!(prints, golden.map(|(kind, digest)| (kind, digest.to_owned())));
    }

    #[test]
    fn no_digest_is_that_of_another_kind_person_or_deployment() {
        let said = Identity {
            family_name: "Exemple".parse().ok(),
            first_name: "Zoé".parse().ok(),
            birth_date: "1987-03-14".parse().ok(),
            phone: "06 39 98 12 34".parse().ok(),
            email: "zoe@exemple.fr".parse().ok(),
        };
        let dir = std::env::temp_dir().join(format!("primeur-prints-{}", uuid::Uuid::now_v7()));
        let [ours, theirs] = ["a", "b"].map(|name| {
            crate::kit::keys::Keys::create(&dir.join(name), crate::kit::time::Instant::from_microsecond(0)).unwrap()
        });
        std::fs::remove_dir_all(&dir).unwrap();
        let prints = fingerprints(&ours.secret, &said);
        assert_eq!(prints.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), Kind::ALL);
        let moved = Identity { family_name: "Exemplez".parse().ok(), first_name: "oé".parse().ok(), ..said.clone() };
        let other = [fingerprints(&theirs.secret, &said), fingerprints(&ours.secret, &moved)].concat();
        assert!(prints[..2].iter().all(|print| !other.contains(print)), "where a name ends matters");
        let none = Identity { family_name: "—".parse().ok(), first_name: "Zoé".parse().ok(), ..Identity::default() };
        assert_eq!(fingerprints(&ours.secret, &none), [], "a name without letters is nobody's");
    }
}
