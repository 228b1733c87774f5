//! What can be wrong with one field of a request, and how a person reads it.
//!
//! A new complaint is one name with two sentences in the list below: the French one, then the English one. They go on
//! after the name of the field, say what to do, and never quote what was sent: it may be somebody's name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::money::Cents;

macro_rules! complaints {
    ($($(#[$meta:meta])* $name:ident $({ $($part:ident: $type:ty),* })? => $french:literal, $english:literal;)*) => {
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Complaint {
            $($(#[$meta])* $name $({ $($part: $type),* })?,)*
        }

        impl Complaint {
            /// The same in French and in English.
            pub fn sentences(&self) -> [String; 2] {
                match self {
                    $(Complaint::$name $({ $($part),* })? => {
                        [format_args!($french).to_string(), format_args!($english).to_string()]
                    })*
                }
            }

            /// One of each, about nothing in particular.
            #[cfg(test)]
            fn each() -> Vec<Complaint> {
                vec![$(Complaint::$name $({ $($part: tests::Sample::sample()),* })?,)*]
            }
        }
    };
}

complaints! {
    // whether it is there
    Missing => "doit être indiqué", "is missing";
    Twice => "ne doit être indiqué qu’une fois", "is given twice";
    Unknown { known: Words } =>
        "n’est pas un champ prévu ici ; les champs possibles sont : {known}",
        "is not a field here; there are: {known}";

    // its form in JSON, or in a query
    NotAnObject => "doit être un objet JSON, entre accolades", "must be a JSON object, in braces";
    NotAList => "doit être une liste, entre crochets", "must be a list, in square brackets";
    NotText => "doit être un texte, entre guillemets", "must be text, in quotes";
    NotYesOrNo => "doit être true (oui) ou false (non), sans guillemets", "must be true or false, without quotes";
    NotAWholeNumber => "doit être un nombre entier, sans guillemets", "must be a whole number, without quotes";
    TooFarFromZero => "doit être un nombre plus proche de zéro", "must be a number closer to zero";
    OtherForm =>
        "n’a pas la forme que donne la documentation",
        "does not have the form that the documentation gives";

    // texts of a certain kind
    NotOneOf { words: Words } => "doit être l’une de ces valeurs : {words}", "must be one of: {words}";
    Length { least: usize, most: usize } =>
        "doit compter de {least} à {most} caractères",
        "must have {least} to {most} characters";
    NotOnePlainLine =>
        "doit tenir en une ligne, sans caractère invisible",
        "must be one line, without control or invisible characters";
    NotAnId { prefix: String } =>
        "doit être un identifiant qui commence par {prefix}_",
        "must be an id that begins with {prefix}_";
    NotAnAmount =>
        "doit être un montant en euros, entre guillemets, avec un point et deux décimales au plus, tel que \"12.50\"",
        "must be an amount in euros, in quotes, with a point and at most two decimals, such as \"12.50\"";
    NotADay =>
        "doit être une date du calendrier au format AAAA-MM-JJ",
        "must be a day of the calendar, written YYYY-MM-DD";
    NotAMonth => "doit être un mois au format AAAA-MM", "must be a month, written YYYY-MM";
    NotAnInstant =>
        "doit être un instant, tel que 2026-07-01T08:30:00Z",
        "must be an instant such as 2026-07-01T08:30:00Z";
    NotAZone =>
        "doit être un fuseau horaire de la liste IANA, tel que Europe/Paris",
        "must be a time zone of the IANA list, such as Europe/Paris";
    NotACommune =>
        "doit être un code commune de l’INSEE, de cinq caractères, tel que 62427",
        "must be an INSEE commune code of five characters, such as 62427";
    NotAnEmail => "doit être une adresse électronique", "must be an e-mail address";
    NotAPhone =>
        "doit être un numéro de téléphone, tel que 06 39 98 12 34, ou +32 470 12 34 56 de l’étranger",
        "must be a phone number, such as 06 39 98 12 34, or +32 470 12 34 56 from abroad";

    // bounds, and one field beside another
    NotBetween { least: i64, most: i64 } => "doit être un nombre de {least} à {most}", "must be {least} to {most}";
    Above { most: Cents } => "doit être de {most} au plus", "must be at most {most}";
    Below { least: Cents } => "doit être de {least} au moins", "must be at least {least}";
    NothingAtAll => "doit être supérieur à 0.00", "must be more than 0.00";
    Items { least: usize, most: usize } =>
        "doit compter de {least} à {most} éléments",
        "must have {least} to {most} items";
    Before { other: String } => "ne doit pas précéder {other}", "must not be before {other}";
    InFuture => "ne doit pas être dans l’avenir", "must not be in the future";

    // access
    CommonPassword =>
        "est un mot de passe que chacun essaie d’abord : choisissez plusieurs mots sans rapport entre eux",
        "is one that everybody tries first: choose several words that have nothing to do with each other";
    PatternPassword =>
        "ne doit être ni une répétition ni une suite de touches : choisissez plusieurs mots sans rapport entre eux",
        "must not be a repetition or a row of keys: choose several words that have nothing to do with each other";
    PasswordNamesService =>
        "ne doit pas contenir le nom de ce service",
        "must not contain the name of this service";
    PasswordNamesPerson =>
        "ne doit pas contenir le nom qui est dans votre adresse électronique",
        "must not contain the name in your e-mail address";
    NotYourPassword => "n’est pas votre mot de passe", "is not your password";
    CodeMissing =>
        "doit être indiqué : un second facteur est en vigueur",
        "is missing: a second factor is in force";
    Nobody => "n’est l’adresse de personne ici", "nobody here has this address";
    NoSecondFactor => "est d’une personne sans second facteur", "this person has no second factor";
    AdministratorExists =>
        "existe déjà, et peut inviter d’autres personnes",
        "there is one already, who can invite others";
    KeyInUse => "sert encore", "is still in use";

    // programme, enrolment and reports
    GivesNothing =>
        "doit donner quelque chose par ménage ou par adulte",
        "must give something per household or per adult";
    NotMonthly =>
        "ne peut être calendar_month qu’avec des périodes d’un mois",
        "calendar_month goes with periods of one month only";
    YearEndsFirst =>
        "ne va pas avec ends_with_year au-delà d’un an de périodes",
        "does not go with ends_with_year beyond a year of periods";
    AboveOther { other: String } => "ne doit pas dépasser {other}", "must not be above {other}";
    AboveWhole => "ne doivent pas dépasser 100 en tout", "must not be above 100 together";
    NotACode =>
        "doit être fait de minuscules, de chiffres et de _, et n’être ni main, ni bonus, ni own",
        "must be small letters, digits and _, and neither main nor bonus nor own";
    NamedTwice => "est nommé deux fois", "is named twice";
    InAnother => "est déjà ailleurs dans la liste", "stands elsewhere in the list already";
    NotEligible => "doit figurer dans eligible.categories", "must stand in eligible.categories";
    CoversNothing => "doivent en compter un sous 100", "must have one below 100";
    NoSuchValue => "n’est pas une valeur que prévoient les règles", "is not a value that the rules have";
    NoSuchTariff => "n’est pas un tarif à choisir ici", "is not a tariff to choose here";
    BandsInstead => "ne se règle pas à côté de bands", "is not to be set beside bands";
    NotBeside { other: String } => "ne va pas avec {other}", "does not go with {other}";
    TooManyToLive =>
        "demande trop de calcul avec de telles règles : regroupez les ménages semblables",
        "takes too much reckoning with such rules: put households that are alike into one group";
    NotTheWhole => "doivent faire 100 en tout", "must be 100 together";
    ForNothing => "doit nommer une catégorie ou un label", "must name a category or a label";
    NotPastVoids { days: i64 } =>
        "doit aller au-delà des {days} jours où un achat peut être annulé",
        "must go beyond the {days} days in which a purchase can be undone";
    NeedsPriority =>
        "demande que funding_rule soit priority",
        "needs funding_rule to be priority";
    NoMainPurse =>
        "n’ont pas d’argent derrière elles : les sous-porte-monnaie prennent tout",
        "have no money behind them: the sub-purses take all of it";
    MustEndWithYear =>
        "doit être true pour un chèque d’accompagnement personnalisé (CGCT, R1611-12)",
        "must be true for a personalised support voucher (CGCT, R1611-12)";
    TakesPeoplesMoney =>
        "ne peuvent recueillir l’argent des ménages pour un chèque d’accompagnement personnalisé : choisissez une autre base légale",
        "cannot take households' own money for a personalised support voucher: choose another legal basis";
    PeriodsDoNotFit =>
        "ne tient pas entre le premier et le dernier jour du programme",
        "does not fit between the programme's first and last day";
    NotCovered =>
        "compte une période qu’aucune convention ne couvre du premier au dernier jour",
        "has a period that no agreement covers from its first day to its last";
    CannotBeFunded =>
        "dépasse, pour un seul ménage, tout ce que les conventions accordent",
        "is more, for one household, than all that the agreements grant";
    CommuneTwice => "ne doit pas nommer deux fois une commune", "must not name a commune twice";
    NotAFunder => "doit être l’identifiant d’un financeur", "must be the id of a funder";
    BeforeProgramme =>
        "ne doit pas précéder le premier jour du programme",
        "must not be before the programme's first day";
    BeforeSignature => "ne doit pas précéder la signature de la convention", "lies before the agreement was signed";

    // producer
    NotASiret => "doit être un numéro SIRET de 14 chiffres", "must be a SIRET of 14 digits";
    WrongSiret =>
        "n’est pas un SIRET : ses chiffres ne concordent pas, vérifiez-les",
        "is not a SIRET: its check digits do not agree";
    NotAnIban => "doit être un IBAN : des lettres et des chiffres", "must be an IBAN: letters and digits";
    IbanOutsideSepa => "doit être un IBAN d’un pays de la zone SEPA", "must be an IBAN of a SEPA country";
    IbanLength =>
        "n’a pas la longueur d’un IBAN de son pays",
        "does not have the length of an IBAN of its country";
    WrongIban =>
        "n’est pas un IBAN : ses chiffres ne concordent pas, vérifiez-les",
        "is not an IBAN: its check digits do not agree";

    // household and till
    NoWayToSearch =>
        "doit venir avec first_name (et birth_date, au choix), ou laisser place à phone seul ou à email seul",
        "must be family_name and first_name (and birth_date), or phone, or email";
    NotTheBasket => "doit avoir pour total le montant du panier", "must add up to the basket";
}

impl Complaint {
    /// What an error of serde, which has room for text only, must say for [`Complaint::out_of`] to find the complaint in it.
    pub fn carried(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The complaint that an error of serde carries; nothing where the text is serde's own.
    pub fn out_of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// In English, for command lines and logs.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, english] = self.sentences();
        f.write_str(&english)
    }
}

impl std::error::Error for Complaint {}

/// Words of the interface, to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words(pub Vec<String>);

impl Words {
    pub fn of(words: &[&str]) -> Self {
        Words(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    pub trait Sample {
        fn sample() -> Self;
    }

    impl Sample for i64 {
        fn sample() -> Self {
            7
        }
    }

    impl Sample for usize {
        fn sample() -> Self {
            7
        }
    }

    impl Sample for Cents {
        fn sample() -> Self {
            Cents(700)
        }
    }

    impl Sample for String {
        fn sample() -> Self {
            "sample".to_owned()
        }
    }

    impl Sample for Words {
        fn sample() -> Self {
            Words::of(&["sample", "second"])
        }
    }

    #[test]
    fn every_complaint_is_a_sentence_in_each_language() {
        let mut all = HashSet::new();
        for complaint in Complaint::each() {
            let [french, english] = complaint.sentences();
            for sentence in [&french, &english] {
                assert!(sentence.chars().next().is_some_and(char::is_lowercase), "{sentence}: goes on after a name");
                assert!(!sentence.ends_with(['.', ' ', ',', ':']) && sentence.len() < 200, "{sentence}");
                let words: HashSet<&str> = sentence.split(|c: char| !c.is_alphanumeric()).collect();
                for technical in ["serde", "expected", "Uuid", "uuid", "i32", "i64", "usize", "struct", "enum", "parse"]
                {
                    assert!(!words.contains(technical), "{sentence}: {technical}");
                }
                assert!(!sentence.contains("invalid type") && !sentence.contains('{'), "{sentence}");
                assert!(all.insert(sentence.clone()), "{sentence}: said of two things, or in both languages");
            }
            assert!(!french.contains('\''), "{french}: a French apostrophe is ’");
            assert_eq!(complaint.to_string(), english);
        }
    }

    #[test]
    fn both_languages_say_the_same_bounds_and_words() {
        for complaint in Complaint::each() {
            let [french, english] = complaint.sentences();
            for part in ["7", "sample", "second", "0.00", "12.50", "calendar_month", "starts_on", "first_name"] {
                assert_eq!(french.matches(part).count(), english.matches(part).count(), "{part}: {french} / {english}");
            }
        }
    }

    #[test]
    fn a_complaint_comes_out_of_an_error_of_serde_as_it_went_in() {
        for complaint in Complaint::each() {
            let error = <serde_json::Error as serde::de::Error>::custom(complaint.carried());
            assert_eq!(Complaint::out_of(&error.to_string()), Some(complaint));
        }
        for own in ["", "missing field `a`", "invalid type: string \"\\\"Missing\\\"\", expected i32", "Missing"] {
            assert_eq!(Complaint::out_of(own), None, "{own}");
        }
    }
}
