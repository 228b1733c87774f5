//! What a newcomer is told: who can log in, a card, and the lines to paste.

use std::fmt::{self, Write};

use super::territory::{ADMINISTRATOR, DESKS, EVALUATOR, FUNDERS, Face, GROWERS, MANAGER, PASSWORD};
use super::world::{self, Refusals, log_in};
use crate::access::Actor;
use crate::allowance;
use crate::budget::{self, Budget};
use crate::db::Page;
use crate::enrolment::{self, Filter, State as EnrolmentState};
use crate::http::State;
use crate::kit::error::{Error, Result};
use crate::kit::id::{AgreementId, ProgrammeId, StallId};
use crate::kit::money::Cents;
use crate::kit::time::{Month, Zone};
use crate::verify::{self, Verdict};
use crate::voucher::{self, Voucher, qr};
use crate::{household, producer, programme};

/// Logins that are not shown.
const OTHERS: usize = FUNDERS.len() + GROWERS.len() - 3;

const WIDTH: usize = 98;

/// More than any list here holds.
fn everything<T>() -> Page<T> {
    Page { after: None, limit: 10_000 }
}

/// Found again at each start, from what the database holds.
pub fn text(state: &State, database: &str, refusals: Option<&Refusals>) -> std::result::Result<String, String> {
    compose(state, database, refusals)
        .map_err(|e| format!("the demo's people cannot be found again (--fresh starts over): {e}"))
}

fn compose(state: &State, database: &str, refusals: Option<&Refusals>) -> Result<String> {
    let mut page = String::new();
    let written = |e: fmt::Error| Error::internal(e);
    people(&mut page).map_err(written)?;
    books(&mut page, &budgets(state)?, &verify::run_with_keys(&state.db, &state.keys.now())?, refusals)
        .map_err(written)?;
    let desk = log_in(state, DESKS[0].login)?;
    let Some(Shown { programme, household, spendable, voucher }) = fullest_card(state, &desk)? else {
        writeln!(page, "\nNo card has money left today: start over with --fresh.").map_err(written)?;
        return Ok(page);
    };
    let keys = state.keys.now();
    let (token, code) = (voucher.token(&keys, state.host()), voucher.code(&keys.secret));
    writeln!(page, "\nA CARD of household {household}: {spendable} € to spend today, typed code {code}\n")
        .map_err(written)?;
    writeln!(page, "{}", qr::terminal(&token)?).map_err(written)?;
    let paste = Paste {
        api: format!("{}/api/v1", state.origin),
        token,
        stall: open_stall(state)?,
        agreement: own_agreement(state, programme)?,
        month: last_month(state)?,
        database: database.to_owned(),
    };
    paste.write(&mut page).map_err(written)?;
    Ok(page)
}

fn people(page: &mut String) -> fmt::Result {
    writeln!(page, "PRIMEUR FOR SHOW: everybody here is invented, the password is public, and only this machine")?;
    writeln!(page, "can reach it. Never put real people into it.\n")?;
    let shown: [(&str, &Face); 8] = [
        ("administrator", &ADMINISTRATOR),
        ("manager", &MANAGER),
        ("social worker", &DESKS[0]),
        ("social worker", &DESKS[1]),
        ("producer", &GROWERS[0].face),
        ("funder", &FUNDERS[0]),
        ("funder", &FUNDERS[1]),
        ("evaluator", &EVALUATOR),
    ];
    writeln!(page, "  {:<15} {:<34} ORGANISATION", "ROLE", "LOGIN")?;
    for (role, face) in shown {
        writeln!(page, "  {role:<15} {:<34} {}", face.login, face.organisation)?;
    }
    writeln!(page, "\n  One password for all: {PASSWORD}")?;
    writeln!(page, "  Another {OTHERS} logins, of the same password, are in the administrator's GET /people.")
}

/// Name and budget of each programme.
fn budgets(state: &State) -> Result<Vec<(String, Budget)>> {
    let (manager, now) = (log_in(state, MANAGER.login)?, state.db.now());
    state.db.read(|conn| {
        let programmes = programme::list(conn, &manager, &everything())?;
        programmes.into_iter().map(|p| Ok((p.name, budget::budget(conn, now, &manager, p.id)?))).collect()
    })
}

/// The money and the households of each programme, and whether the books hold.
fn books(
    page: &mut String,
    budgets: &[(String, Budget)],
    verdict: &Verdict,
    refusals: Option<&Refusals>,
) -> fmt::Result {
    let row = |name: &str, [granted, issued, redeemed, returned]: [String; 4], households: &str| {
        format!("  {name:<19}{granted:>11}{issued:>11}{redeemed:>11}{returned:>11}   {households}")
    };
    let heading = ["GRANTED", "ISSUED", "REDEEMED", "RETURNED"].map(str::to_owned);
    writeln!(page, "\n{}", row("EUROS", heading, "HOUSEHOLDS"))?;
    for (name, Budget { total, enrolments, .. }) in budgets {
        let amounts = [total.granted, total.issued, total.redeemed, total.returned].map(|cents| cents.to_string());
        let households: Vec<String> = enrolments.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(page, "{}", row(name, amounts, &households.join(", ")))?;
    }
    let sound = if verdict.findings.is_empty() { "it all adds up" } else { "SOMETHING IS WRONG, run primeur verify" };
    let checked = verdict.checked.iter().map(|(what, count)| format!("{count} {what}"));
    writeln!(page)?;
    paragraph(page, &format!("In the books, {sound}:"), checked.collect())?;
    if let Some(refusals) = refusals {
        let refusals = refusals.iter().map(|(code, count)| format!("{count} {code}"));
        paragraph(page, "Refused on the way:", refusals.collect())?;
    }
    Ok(())
}

/// A list within the width of the page.
fn paragraph(page: &mut String, heading: &str, items: Vec<String>) -> fmt::Result {
    let mut line = format!("  {heading}");
    for (nth, item) in items.iter().enumerate() {
        let end = if nth + 1 == items.len() { "." } else { "," };
        if line.chars().count() + item.chars().count() + 2 > WIDTH {
            writeln!(page, "{line}")?;
            line = "   ".to_owned();
        }
        write!(line, " {item}{end}")?;
    }
    writeln!(page, "{line}")
}

/// The card that a newcomer is given.
struct Shown {
    programme: ProgrammeId,
    /// Its reference.
    household: String,
    spendable: Cents,
    voucher: Voucher,
}

/// Of a desk's cards, the one that holds most today, if any can pay the basket to paste.
fn fullest_card(state: &State, desk: &Actor) -> Result<Option<Shown>> {
    let now = state.db.now();
    state.db.read(|conn| {
        let active = Filter { state: Some(EnrolmentState::Active), ..Filter::default() };
        let mut fullest: Option<Shown> = None;
        for enrolment in enrolment::list(conn, desk, &active, &everything())? {
            let spendable = allowance::purse(conn, now, enrolment.id)?.spendable();
            let cards = voucher::list(conn, desk, Some(enrolment.id), &everything())?;
            let Some(voucher) = cards.into_iter().find(|card| card.state == voucher::State::Active) else { continue };
            if spendable >= BASKET && fullest.as_ref().is_none_or(|fullest| spendable > fullest.spendable) {
                let household = household::own(conn, desk, enrolment.household_id)?.reference;
                fullest = Some(Shown { programme: enrolment.programme_id, household, spendable, voucher });
            }
        }
        Ok(fullest)
    })
}

fn open_stall(state: &State) -> Result<StallId> {
    let seller = log_in(state, GROWERS[0].face.login)?;
    let stalls = state.db.read(|conn| producer::stalls(conn, &seller, None, &everything()))?;
    let open = stalls.iter().find(|stall| stall.open);
    Ok(open.ok_or_else(|| Error::internal("the producer has closed its stalls"))?.id)
}

/// The first funder's agreement behind the card's programme.
fn own_agreement(state: &State, programme: ProgrammeId) -> Result<AgreementId> {
    let funder = log_in(state, FUNDERS[0].login)?;
    let own = state.db.read(|conn| programme::agreements(conn, &funder, Some(programme), &everything()))?;
    Ok(own.first().ok_or_else(|| Error::internal("the funder has no agreement"))?.id)
}

fn last_month(state: &State) -> Result<Month> {
    let paris: Zone = world::text("Europe/Paris")?;
    Ok(paris.day_of(state.db.now()).first_of_month().plus_days(-1).month())
}

const BASKET: Cents = Cents(12_50);

/// What the lines to paste are made of.
struct Paste {
    api: String,
    token: String,
    stall: StallId,
    agreement: AgreementId,
    month: Month,
    database: String,
}

impl Paste {
    fn write(&self, page: &mut String) -> fmt::Result {
        let Paste { api, token, stall, agreement, month, database } = self;
        let login = |page: &mut String, name: &str, face: &Face| {
            writeln!(page, "{name}=$(curl -s $API/access/login -H 'Content-Type: application/json' \\")?;
            let body = format!(r#"{{"email":"{}","password":"{PASSWORD}"}}"#, face.login);
            writeln!(page, "  -d '{body}' | jq -r .access_token)")
        };
        writeln!(page, "\nTO PASTE (needs curl and jq). The producer logs in, reads the card, and redeems it:\n")?;
        writeln!(page, "API={api}\nSTALL={stall}")?;
        // a backslash at the end joins the pieces again
        let pieces: Vec<&str> =
            (0..token.len()).step_by(80).filter_map(|at| token.get(at..token.len().min(at + 80))).collect();
        writeln!(page, "CARD={}", pieces.join("\\\n"))?;
        login(page, "TOKEN", &GROWERS[0].face)?;
        writeln!(page, r#"curl -s $API/vouchers/check -H "Authorization: Bearer $TOKEN" \"#)?;
        writeln!(
            page,
            r#"  -H 'Content-Type: application/json' -d '{{"voucher":"'$CARD'","stall_id":"'$STALL'"}}' | jq"#
        )?;
        writeln!(page, r#"curl -s $API/redemptions -H "Authorization: Bearer $TOKEN" \"#)?;
        writeln!(page, r#"  -H 'Content-Type: application/json' -H "Idempotency-Key: basket-$(date +%s)" \"#)?;
        writeln!(page, r#"  -d '{{"voucher":"'$CARD'","stall_id":"'$STALL'","basket":"{BASKET}","partial":false,"#)?;
        writeln!(page, r#"       "lines":[{{"category":"fruit_vegetables","amount":"{BASKET}"}}]}}' | jq"#)?;
        writeln!(page, "\n# The funder downloads last month, as JSON and as CSV:\n")?;
        login(page, "FUNDER", &FUNDERS[0])?;
        writeln!(page, "MONTH=$API/agreements/{agreement}/reconciliations/{month}")?;
        writeln!(page, r#"curl -s $MONTH -H "Authorization: Bearer $FUNDER" | jq 'del(.lines)'"#)?;
        writeln!(page, r#"curl -s "$MONTH?format=csv" -H "Authorization: Bearer $FUNDER" -o {month}.csv"#)?;
        writeln!(page, "tail -n 3 {month}.csv")?;
        writeln!(page, "\nEverything is recomputed from the journal by:\n")?;
        writeln!(page, "PRIMEUR__DATABASE__URL={database} cargo run --release -- verify")
    }
}
