//! By what two households are found to be alike, without opening a seal: keyed digests of what they said, however it
//! was written. Without the deployment's secret nobody can try names against them.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::Identity;
use crate::kit::keys::{Digest32, Secret};
use crate::kit::phone::Phone;
use crate::kit::text::Email;
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

/// A name without what people write now so and now so: case, accents, ligatures, hyphens, apostrophes and spaces.
pub fn fold(name: &str) -> String {
    // upper case first: it has one form for letters that have several small ones (ς and σ, ſ and s)
    let upper: String = name.nfkd().flat_map(char::to_uppercase).collect();
    let lower: String = upper.chars().flat_map(char::to_lowercase).collect();
    let mut folded = String::with_capacity(lower.len());
    for letter in lower.nfkd().filter(|c| !is_combining_mark(*c)) {
        match letter {
            'œ' => folded.push_str("oe"),
            'æ' => folded.push_str("ae"),
            'ß' => folded.push_str("ss"),
            'þ' => folded.push_str("th"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            letter if letter.is_alphanumeric() => folded.push(letter),
            _ => {}
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("Lefèvre", "LEFEVRE"),
            ("Le Goff", "le-goff"),
            ("D’Hérouville", "d'herouville"),
            ("Cœur", "COEUR"),
            ("Lætitia", "Laetitia"),
            ("Weiß", "WEISS"),
            ("Zoé", "Zoe\u{301}"),
            ("Jean-Pierre", "Jean Pierre"),
            ("Łukasz", "Lukasz"),
            ("Søren", "SOREN"),
            ("Yağmur", "YAGMUR"),
            ("Iğdır", "IGDIR"),
            ("François\u{a0}Noël", "francoisnoel"),
            ("Nguyễn", "Nguyen"),
            ("Παύλος", "ΠΑΥΛΟΣ"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_eq!(fold("Élise-Cœur d’Été"), "elisecoeurdete");
    }

    #[test]
    fn different_names_stay_different() {
        let names = [
            "Martin", "Martine", "Martins", "Marin", "Dupont", "Dupond", "Durand", "Durant", "Lefebvre", "Lefèvre",
            "Le Goff", "Legoux", "Nguyen", "Ngyen", "Benali", "Ben Ali", "محمد", "أحمد", "Иван", "Анна", "李", "王",
        ];
        let mut folded: Vec<String> = names.iter().map(|name| fold(name)).collect();
        assert!(folded.iter().all(|name| !name.is_empty()), "{folded:?}");
        folded.sort();
        folded.dedup();
        // but for the two that are one name written twice
        assert_eq!(folded.len(), names.len() - 1, "{folded:?}");
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

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(name in "\\PC{0,40}") {
            let once = fold(&name);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn case_accents_and_spaces_do_not_matter(name in "[a-zàâäçéèêëîïôöùûüÿœæA-ZÉÈÀÇŒ]{1,20}", at in 0_usize..20) {
            let once = fold(&name);
            prop_assert_eq!(&fold(&name.to_uppercase()), &once);
            prop_assert_eq!(&fold(&name.to_lowercase()), &once);
            prop_assert_eq!(&fold(&name.nfd().collect::<String>()), &once);
            prop_assert_eq!(&fold(&name.nfd().filter(|c| !is_combining_mark(*c)).collect::<String>()), &once);
            let mut spaced: Vec<char> = name.chars().collect();
            for mark in [' ', '-', '\'', '’', '.'] {
                spaced.insert(at.min(spaced.len()), mark);
            }
            prop_assert_eq!(&fold(&spaced.into_iter().collect::<String>()), &once);
            prop_assert!(once.bytes().all(|b| b.is_ascii_lowercase()), "{}", once);
        }
    }
}
