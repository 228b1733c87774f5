//! Text from outside, cleaned once at the edge.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

#[cfg(test)]
mod tests {
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
}
