//! What is said of a field: in French unless English is asked for, what to do about it, and never what was sent.

use serde_json::{Value, json};

use super::{Bench, in_both_languages, operation};
use crate::support::client::new_key;
use crate::support::{Answer, World, contract, on_both_databases};

on_both_databases!(
    a_wrong_field_is_explained_in_the_language_of_whoever_sent_it,
    a_wrong_query_and_a_wrong_path_are_explained_in_both_languages,
    all_that_is_wrong_is_explained_at_once,
    what_was_sent_is_never_quoted,
);

/// The operation, the place to spoil, how (left out where nothing), the field that is named; in French, in English.
type Wrong = (&'static str, &'static str, Option<Value>, &'static str, &'static str, &'static str);

fn wrong_bodies() -> Vec<Wrong> {
    let (long, invisible) = (json!("x".repeat(101)), json!("Luci\u{202e}enne"));
    let amount = (
        "doit être un montant en euros, entre guillemets, avec un point et deux décimales au plus, tel que \"12.50\"",
        "must be an amount in euros, in quotes, with a point and at most two decimals, such as \"12.50\"",
    );
    let day =
        ("doit être une date du calendrier au format AAAA-MM-JJ", "must be a day of the calendar, written YYYY-MM-DD");
    let text = ("doit être un texte, entre guillemets", "must be text, in quotes");
    let whole = ("doit être un nombre entier, sans guillemets", "must be a whole number, without quotes");
    let object = ("doit être un objet JSON, entre accolades", "must be a JSON object, in braces");
    let length = ("doit compter de 1 à 100 caractères", "must have 1 to 100 characters");
    let own = ("create_household", "create_programme", "redeem", "sign_agreement", "set_producer_details");
    let (household, programme, redeem, sign, producer) = own;
    vec![
        (household, "/adults", None, "adults", "doit être indiqué", "is missing"),
        (programme, "/rules/period/count", None, "rules.period.count", "doit être indiqué", "is missing"),
        (
            "create_stall",
            "/colour",
            Some(json!("red")),
            "colour",
            "n’est pas un champ prévu ici ; les champs possibles sont : name, commune",
            "is not a field here; there are: name, commune",
        ),
        (
            "create_stall",
            "/commune/colour",
            Some(json!("red")),
            "commune.colour",
            "n’est pas un champ prévu ici ; les champs possibles sont : code, name",
            "is not a field here; there are: code, name",
        ),
        ("create_organisation", "/name", Some(json!(7)), "name", text.0, text.1),
        ("create_organisation", "", Some(json!([])), "body", object.0, object.1),
        (programme, "/rules", Some(json!("x")), "rules", object.0, object.1),
        (
            programme,
            "/communes",
            Some(json!({})),
            "communes",
            "doit être une liste, entre crochets",
            "must be a list, in square brackets",
        ),
        (household, "/adults", Some(json!("2")), "adults", whole.0, whole.1),
        (household, "/adults", Some(json!(1.5)), "adults", whole.0, whole.1),
        (
            household,
            "/adults",
            Some(json!(5_000_000_000_i64)),
            "adults",
            "doit être un nombre plus proche de zéro",
            "must be a number closer to zero",
        ),
        (household, "/adults", Some(json!(21)), "adults", "doit être un nombre de 1 à 20", "must be 1 to 20"),
        (
            redeem,
            "/partial",
            Some(json!("yes")),
            "partial",
            "doit être true (oui) ou false (non), sans guillemets",
            "must be true or false, without quotes",
        ),
        (redeem, "/basket", Some(json!("1,50")), "basket", amount.0, amount.1),
        (redeem, "/lines/1/amount", Some(json!("-1.00")), "lines[1].amount", amount.0, amount.1),
        (redeem, "/basket", Some(json!(1.5)), "basket", text.0, text.1),
        (
            redeem,
            "/lines/0/amount",
            Some(json!("0.00")),
            "lines[0].amount",
            "doit être supérieur à 0.00",
            "must be more than 0.00",
        ),
        (
            redeem,
            "/basket",
            Some(json!("23.41")),
            "lines",
            "doit avoir pour total le montant du panier",
            "must add up to the basket",
        ),
        (sign, "/starts_on", Some(json!("2026-02-30")), "starts_on", day.0, day.1),
        (
            sign,
            "/ends_on",
            Some(json!("2025-01-01")),
            "ends_on",
            "ne doit pas précéder starts_on",
            "must not be before starts_on",
        ),
        (
            sign,
            "/funder_id",
            Some(json!("hhd_06emeasag1oh1dtjkd13ojl1r0")),
            "funder_id",
            "doit être un identifiant qui commence par org_",
            "must be an id that begins with org_",
        ),
        (sign, "/reference", Some(long), "reference", length.0, length.1),
        (sign, "/reference", Some(json!(" ")), "reference", length.0, length.1),
        (
            "create_organisation",
            "/name",
            Some(invisible),
            "name",
            "doit tenir en une ligne, sans caractère invisible",
            "must be one line, without control or invisible characters",
        ),
        (
            programme,
            "/rules/carry_over",
            Some(json!("for_ever")),
            "rules.carry_over",
            "doit être l’une de ces valeurs : none, next, to_end",
            "must be one of: none, next, to_end",
        ),
        (
            programme,
            "/rules/amount/per_child",
            Some(json!("10000.01")),
            "rules.amount.per_child",
            "doit être de 10000.00 au plus",
            "must be at most 10000.00",
        ),
        (
            programme,
            "/communes",
            Some(json!([])),
            "communes",
            "doit compter de 1 à 2000 éléments",
            "must have 1 to 2000 items",
        ),
        (
            producer,
            "/iban",
            Some(json!("FR7699999000010000000001278")),
            "iban",
            "n’est pas un IBAN : ses chiffres ne concordent pas, vérifiez-les",
            "is not an IBAN: its check digits do not agree",
        ),
        (
            producer,
            "/siret",
            Some(json!("1234")),
            "siret",
            "doit être un numéro SIRET de 14 chiffres",
            "must be a SIRET of 14 digits",
        ),
        (
            household,
            "/commune",
            Some(json!("Amiens")),
            "commune",
            "doit être un code commune de l’INSEE, de cinq caractères, tel que 62427",
            "must be an INSEE commune code of five characters, such as 62427",
        ),
        (
            household,
            "/identity/birth_date",
            Some(json!("2199-01-01")),
            "identity.birth_date",
            "ne doit pas être dans l’avenir",
            "must not be in the future",
        ),
        (
            "create_person",
            "/email",
            Some(json!("lucienne")),
            "email",
            "doit être une adresse électronique",
            "must be an e-mail address",
        ),
        (
            "change_password",
            "/new_password",
            Some(json!("motdepasse123")),
            "new_password",
            "est un mot de passe que chacun essaie d’abord : choisissez plusieurs mots sans rapport entre eux",
            "is one that everybody tries first: choose several words that have nothing to do with each other",
        ),
    ]
}

fn spoiled(body: Value, place: &str, value: Option<Value>) -> Value {
    let mut body = body;
    match (place.rsplit_once('/'), value) {
        (None, value) => body = value.unwrap_or_default(),
        (Some((parent, name)), None) => {
            body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        }
        (Some(_), Some(value)) if body.pointer(place).is_some() => *body.pointer_mut(place).unwrap() = value,
        (Some((parent, name)), Some(value)) => body.pointer_mut(parent).unwrap()[name] = value,
    }
    body
}

/// What is said of a field, if it is the first that is named.
#[track_caller]
fn said(problem: &Value, field: &str) -> String {
    assert_eq!(problem["fields"][0]["field"], field, "{problem}");
    problem["fields"][0]["message"].as_str().unwrap().to_owned()
}

fn a_wrong_field_is_explained_in_the_language_of_whoever_sent_it(world: World) {
    let bench = Bench::new(world);
    for (id, place, value, field, french, english) in wrong_bodies() {
        let operation = operation(id);
        let body = spoiled(json!(bench.body(&operation)), place, value);
        let body = serde_json::to_vec(&body).unwrap();
        for (language, sentence) in [
            (None, french),
            (Some("fr"), french),
            (Some("de"), french),
            (Some("en"), english),
            (Some("fr;q=0.1, en"), english),
        ] {
            let answer = bench.send_in(language, &operation, "application/json", &body);
            let spoken = if sentence == french { "fr" } else { "en" };
            assert_eq!(answer.header("content-language"), Some(spoken));
            assert_eq!(said(&answer.refused(422, "invalid_request"), field), sentence, "{id}{place}");
        }
    }
    bench.unchanged();
}

fn a_wrong_query_and_a_wrong_path_are_explained_in_both_languages(world: World) {
    let bench = Bench::new(world);
    let (town, agreement) = (&bench.town, &bench.town.agreements[0]);
    let month = ("doit être un mois au format AAAA-MM", "must be a month, written YYYY-MM");
    let (whole, day) = (
        ("doit être un nombre entier, sans guillemets", "must be a whole number, without quotes"),
        ("doit être une date du calendrier au format AAAA-MM-JJ", "must be a day of the calendar, written YYYY-MM-DD"),
    );
    let closer = ("doit être un nombre plus proche de zéro", "must be a number closer to zero");
    let id = ("doit être un identifiant qui commence par hhd_", "must be an id that begins with hhd_");
    let (worker, till, manager) = (&town.worker, &town.tills[0].client, &town.manager);
    let report = format!("/api/v1/agreements/{agreement}/reconciliations");
    for (person, path, field, (french, english)) in [
        (worker, "/api/v1/households?limit=ten".to_owned(), "limit", whole),
        (worker, "/api/v1/households?limit=".to_owned(), "limit", whole),
        (worker, "/api/v1/households?limit=99999999999999999999".to_owned(), "limit", closer),
        (
            worker,
            "/api/v1/households?limit=201".to_owned(),
            "limit",
            ("doit être un nombre de 1 à 200", "must be 1 to 200"),
        ),
        (
            worker,
            "/api/v1/households?limit=1&limit=2".to_owned(),
            "limit",
            ("ne doit être indiqué qu’une fois", "is given twice"),
        ),
        (
            worker,
            "/api/v1/households?colour=red".to_owned(),
            "colour",
            (
                "n’est pas un champ prévu ici ; les champs possibles sont : cursor, limit",
                "is not a field here; there are: cursor, limit",
            ),
        ),
        (worker, format!("/api/v1/enrolments?household_id={}", town.programme), "household_id", id),
        (till, "/api/v1/redemptions?from=hier".to_owned(), "from", day),
        (
            manager,
            format!("{report}/2026-07?format=pdf"),
            "format",
            ("doit être l’une de ces valeurs : json, csv, csv-excel-fr", "must be one of: json, csv, csv-excel-fr"),
        ),
        (manager, format!("{report}/juillet"), "month", month),
        (
            manager,
            format!("{report}/2199-01"),
            "month",
            ("ne doit pas être dans l’avenir", "must not be in the future"),
        ),
        (
            manager,
            format!("{report}/1999-01"),
            "month",
            ("ne doit pas précéder la signature de la convention", "lies before the agreement was signed"),
        ),
    ] {
        for (language, sentence) in [(None, french), (Some("fr"), french), (Some("en"), english)] {
            let answer = person.speaking(language).get(&path);
            assert_eq!(said(&answer.refused(422, "invalid_request"), field), sentence, "{path}");
        }
    }
    bench.unchanged();
}

fn all_that_is_wrong_is_explained_at_once(world: World) {
    let bench = Bench::new(world);
    let sign = operation("sign_agreement");
    let mut body = json!(bench.body(&sign));
    for (field, value) in [
        ("granted", json!("0.00")),
        ("ends_on", json!("2025-01-01")),
        ("grace_days", json!(-1)),
        ("share_weight", json!(10_001)),
    ] {
        body[field] = value;
    }
    let body = serde_json::to_vec(&body).unwrap();
    let [french, english] = [None, Some("en")].map(|language| {
        bench.send_in(language, &sign, "application/json", &body).refused(422, "invalid_request")["fields"].clone()
    });
    let fields = |said: [&str; 4]| {
        let names = ["granted", "ends_on", "grace_days", "share_weight"];
        Value::from_iter(
            names.into_iter().zip(said).map(|(field, message)| json!({"field": field, "message": message})),
        )
    };
    let said = [
        "doit être supérieur à 0.00",
        "ne doit pas précéder starts_on",
        "doit être un nombre de 0 à 366",
        "doit être un nombre de 1 à 10000",
    ];
    assert_eq!(french, fields(said));
    let said = ["must be more than 0.00", "must not be before starts_on", "must be 0 to 366", "must be 1 to 10000"];
    assert_eq!(english, fields(said));

    // of very many lines, only as many as there may be
    let redeem = operation("redeem");
    let mut body = json!(bench.body(&redeem));
    body["lines"] = json!(vec![json!({"category": "eggs", "amount": "0.00"}); 1000]);
    let problem = bench.refused_json(&redeem, &body);
    assert_eq!(problem["fields"].as_array().unwrap().len(), 1 + 20 + 1);
    bench.unchanged();
}

const NAME: &str = "Lucienne";

/// Each value of each body is somebody's name, in clothes that a message might be taken apart by.
fn what_was_sent_is_never_quoted(world: World) {
    let bench = Bench::new(world);
    let quoted = |answer: Answer, place: &str| {
        let text = String::from_utf8(answer.bytes).unwrap();
        assert!(!text.contains(NAME), "{place}: {text}");
    };
    let mut sent = 0;
    for operation in Bench::with_bodies() {
        let good = json!(bench.body(&operation));
        let mut places = Vec::new();
        super::bodies::places(&good, "", &mut places);
        for place in places {
            for dress in ["", ", expected `Lucienne`", "` at line 1", "\", expected one of `Lucienne`, `Lucienne`"] {
                let body = spoiled(good.clone(), &place, Some(json!(format!("{NAME}{dress}"))));
                if contract::accepts(&operation, &body) {
                    continue;
                }
                let answer = bench.send_json(&operation, &body);
                assert!((400..500).contains(&answer.status), "{}{place}: {}", operation.id, answer.status);
                quoted(answer, &place);
                sent += 1;
            }
        }
    }
    assert!(sent > 200, "only {sent} bodies had a name");
    for operation in contract::operations() {
        let path = bench.path(&operation).replace("{month}", "2026-07");
        for name in contract::queries(&operation) {
            quoted(bench.person(&operation).get(&format!("{path}?{name}={NAME}")), &path);
        }
    }
    // the same of a name beside a voucher
    let redeem = operation("redeem");
    let (till, key) = (&bench.town.tills[0].client, new_key());
    let body = spoiled(json!(bench.body(&redeem)), "/lines/0/category", Some(json!(NAME)));
    let [french, english] = [Some("fr"), Some("en")].map(|language| {
        till.speaking(language).post_with_key("/api/v1/redemptions", &key, body.clone()).refused(422, "invalid_request")
    });
    in_both_languages(&french, &english);
    bench.unchanged();
}
