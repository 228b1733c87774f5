//! Lists and addresses: what is asked for wrongly, and paging.

use serde_json::Value;

use crate::input::{Bench, operation};
use crate::support::town::Setup;
use crate::support::{Client, Town, World, contract, on_both_databases};

on_both_databases!(
    a_list_asked_for_wrongly_is_refused,
    paging_shows_every_item_once_and_in_order,
    a_cursor_is_good_in_its_own_list_for_its_own_organisation_and_unchanged,
    an_unknown_address_is_404_and_an_unknown_method_405,
);

/// Every list that comes in pages, with somebody who sees the most of it.
fn lists(town: &Town) -> Vec<(String, Client)> {
    let of = |path: &str, client: &Client| (format!("/api/v1/{path}"), client.clone());
    vec![
        of("audit", &town.administrator),
        of("people", &town.administrator),
        of("organisations", &town.manager),
        of("programmes", &town.manager),
        of("agreements", &town.manager),
        of("producers", &town.manager),
        of("stalls", &town.worker),
        of(&format!("programmes/{}/applications", town.programme), &town.manager),
        of("applications", &town.tills[0].client),
        of("households", &town.worker),
        of("enrolments", &town.worker),
        of("vouchers", &town.worker),
        of("redemptions", &town.tills[0].client),
        of("holds", &town.tills[0].client),
    ]
}

fn a_list_asked_for_wrongly_is_refused(world: World) {
    let bench = Bench::new(world);
    let lists = lists(&bench.town);
    let known = contract::operations().into_iter().filter(|operation| operation.id.starts_with("list_"));
    // these come all at once
    let whole = ["list_members", "list_rules", "list_contributions"];
    assert_eq!(lists.len(), known.filter(|operation| !whole.contains(&operation.id.as_str())).count());
    for (path, person) in lists {
        for limit in ["0", "201", "-1", "x", "", "1.5", "9223372036854775808"] {
            let problem = person.get(&format!("{path}?limit={limit}")).refused(422, "invalid_request");
            assert_eq!(problem["fields"][0]["field"], "limit");
        }
        for cursor in ["", "x", "AAAA", "%00", "%FF", bench.household.as_str()] {
            person.get(&format!("{path}?cursor={cursor}")).refused(400, "invalid_cursor");
        }
        for query in ["colour=red", "limit=1&limit=2", "Limit=1", "state=unheard_of", "household_id=x", "offset=0"] {
            person.get(&format!("{path}?{query}")).refused(422, "invalid_request");
        }
    }
    bench.unchanged();
}

fn paging_shows_every_item_once_and_in_order(world: World) {
    let setup = Setup { producers: 4, agreements: vec![(100_000, 1); 4], ..Setup::setting_aside() };
    let town = Town::with(world, setup);
    let example = operation("create_programme").body_example.unwrap();
    for _ in 0..3 {
        town.manager.post("/api/v1/programmes", example.clone()).expect(201);
        town.world.pass_minutes(1);
        let card = town.new_card();
        town.tills[0].redeem(&card.token, 100).expect(201);
        town.tills[0].hold(&card.token, 100).expect(201);
        town.open_stall(&town.tills[0].client, "Ferme");
    }
    for (path, person) in lists(&town) {
        let whole = person.get(&format!("{path}?limit=200")).expect(200);
        assert!(whole["next_cursor"].is_null());
        let whole = whole["items"].as_array().unwrap();
        let id = |item: &Value| match item["sequence"].as_i64() {
            Some(sequence) => format!("{sequence:020}"),
            None => item.get("id").unwrap_or(&item["producer"]["id"]).as_str().unwrap_or_default().to_owned(),
        };
        assert!(whole.len() >= 3 || path.ends_with("/v1/applications"), "{path}: {}", whole.len());
        let newest_first = ["/redemptions", "/holds", "/audit"].iter().any(|list| path.ends_with(list));
        let sorted = whole.windows(2).all(|two| (id(&two[0]) < id(&two[1])) != newest_first);
        assert!(sorted, "{path}");
        for limit in [1, 2, whole.len()] {
            let (mut seen, mut query) = (Vec::new(), format!("?limit={limit}"));
            loop {
                let page = person.get(&format!("{path}{query}")).expect(200);
                let items = page["items"].as_array().unwrap();
                assert!((1..=limit).contains(&items.len()), "{path}: an empty or overfull page");
                seen.extend(items.iter().cloned());
                match page["next_cursor"].as_str() {
                    Some(cursor) => query = format!("?limit={limit}&cursor={cursor}"),
                    None => break,
                }
            }
            assert_eq!(&seen, whole, "{path} by {limit}");
        }
    }
}

fn a_cursor_is_good_in_its_own_list_for_its_own_organisation_and_unchanged(world: World) {
    let town = Town::with(world, Setup { producers: 2, ..Setup::default() });
    for _ in 0..2 {
        town.new_card();
    }
    let cursor = |path: &str, person: &Client| {
        let first = person.get(&format!("{path}?limit=1")).expect(200);
        first["next_cursor"].as_str().map(str::to_owned)
    };
    let lists = lists(&town);
    let cursors: Vec<_> = lists.iter().filter_map(|(path, person)| Some((path, cursor(path, person)?))).collect();
    assert!(cursors.len() >= 8, "{cursors:?}");
    for (path, person) in &lists {
        for (origin, cursor) in &cursors {
            let answer = person.get(&format!("{path}?cursor={cursor}"));
            if *origin != path {
                answer.refused(400, "invalid_cursor");
                continue;
            }
            answer.expect(200);
            for place in 0..cursor.len() {
                let mut changed = cursor.clone().into_bytes();
                changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                person.get(&format!("{path}?cursor={changed}")).refused(400, "invalid_cursor");
            }
            person.get(&format!("{path}?cursor={cursor}AAAA")).refused(400, "invalid_cursor");
        }
    }
    let Town { world, administrator, manager, worker, .. } = town;
    let other = Town::among(world, administrator, Setup { producers: 0, ..Setup::default() });
    for (own, theirs, path) in
        [(worker, &other.worker, "/api/v1/households"), (manager, &other.manager, "/api/v1/organisations")]
    {
        let cursor = cursor(path, &own).unwrap();
        own.get(&format!("{path}?cursor={cursor}")).expect(200);
        theirs.get(&format!("{path}?cursor={cursor}")).refused(400, "invalid_cursor");
    }
}

fn an_unknown_address_is_404_and_an_unknown_method_405(world: World) {
    let bench = Bench::new(world);
    for client in [&bench.town.world.anybody(), &bench.town.manager] {
        for path in ["/", "/api", "/api/v1", "/api/v1/", "/api/v2/people", "/api/v1/people/", "/api//v1/people", "/%00"]
        {
            client.get(path).refused(404, "not_found");
        }
        for operation in contract::operations() {
            let here: Vec<String> = contract::operations()
                .into_iter()
                .filter(|other| other.path == operation.path)
                .map(|other| other.method)
                .collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                if !here.iter().any(|known| known == method) {
                    let answer = client.send(method, &operation.path.replace(['{', '}'], ""), &[], None);
                    let mut allowed: Vec<String> =
                        answer.header("allow").unwrap().split(',').map(|name| name.trim().to_owned()).collect();
                    answer.refused(405, "method_not_allowed");
                    allowed.sort();
                    let mut here = here.clone();
                    here.sort();
                    assert_eq!(allowed, here, "{method} {}", operation.path);
                }
            }
        }
    }
    bench.unchanged();
}
