//! Text from outside, cleaned once at the edge.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::complaint::Complaint;

/// Deserializes through `FromStr`; the error carries its complaint.
pub fn from_string<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err = Complaint>,
    D: Deserializer<'de>,
{
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    text.parse().map_err(|complaint: Complaint| D::Error::custom(complaint.carried()))
}

/// What is not seen, or turns the direction of what follows: it can make a name read as another one.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A line of text of 1 to `MAX` characters: trimmed, without control, unseen or direction-changing characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<const MAX: usize>(String);

impl<const MAX: usize> Line<MAX> {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> FromStr for Line<MAX> {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX {
            return Err(Complaint::Length { least: 1, most: MAX });
        }
        if text.chars().any(hidden) { Err(Complaint::NotOnePlainLine) } else { Ok(Line(text.to_owned())) }
    }
}

impl<const MAX: usize> Serialize for Line<MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Line<MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_string(from)
    }
}

/// An e-mail address as a login: lower case, one `@`, no spaces. Whether it receives mail is not checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for Email {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let text = text.trim().to_lowercase();
        let plain = text.len() <= 254 && text.chars().all(|c| !c.is_whitespace() && !hidden(c));
        match text.split_once('@') {
            Some((local, domain)) if plain && !local.is_empty() && domain.contains('.') && !domain.contains('@') => {
                Ok(Email(text))
            }
            _ => Err(Complaint::NotAnEmail),
        }
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_string(from)
    }
}

/// A closed list of words, stored and sent as text.
#[macro_export]
macro_rules! text_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = diesel::sql_types::Text)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::kit::complaint::Complaint;
            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                match text {
                    $($text => Ok($name::$variant),)*
                    _ => Err($crate::kit::complaint::Complaint::NotOneOf {
                        words: $crate::kit::complaint::Words::of(&[$($text),*]),
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> ::std::result::Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> ::std::result::Result<Self, D::Error> {
                $crate::kit::text::from_string(from)
            }
        }

        impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for $name
        where
            str: diesel::serialize::ToSql<diesel::sql_types::Text, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut diesel::serialize::Output<'b, '_, DB>) -> diesel::serialize::Result {
                self.as_str().to_sql(out)
            }
        }

        impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for $name
        where
            String: diesel::deserialize::FromSql<diesel::sql_types::Text, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                String::from_sql(value)?.parse().map_err(Into::into)
            }
        }
    };
}

/// Words without what people write now so and now so: case, accents, ligatures, and all that is neither letter nor digit.
/// Fingerprints in databases are made of it: it never changes.
pub fn fold(text: &str) -> String {
    // upper case first: it has one form for letters that have several small ones (ς and σ, ſ and s)
    let upper: String = text.nfkd().flat_map(char::to_uppercase).collect();
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
    fn names_cannot_hide_control_or_direction_characters() {
        assert_eq!("  Le Potager d'Élise ".parse::<Line<200>>().unwrap().as_str(), "Le Potager d'Élise");
        for bad in
            ["", "   ", "a\0b", "a\nb", "abc\u{202e}def", "a\u{ad}b", "a\u{61c}b", "a\u{e0041}b", &"x".repeat(201)]
        {
            assert!(bad.parse::<Line<200>>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_compared_in_lower_case() {
        assert_eq!("Lea@Exemple.FR".parse::<Email>().unwrap().as_str(), "lea@exemple.fr");
        for bad in
            ["", "lea", "@exemple.fr", "lea@", "lea@fr", "a@b@c.fr", "a b@c.fr", "a\u{202e}b@c.fr", "a\u{200b}b@c.fr"]
        {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
    }

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
