//! What a server takes at once and how long it waits: from one session, one address, one connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use primeur::http::guard::{Limits, Rate};
use serde_json::{Value, json};

use crate::input::Bench;
use crate::support::client::new_key;
use crate::support::contract::Operation;
use crate::support::sql::Sql;
use crate::support::town::{Setup, join, log_in};
use crate::support::world::no_limits;
use crate::support::{Answer, Client, Town, World, on_both_databases};

on_both_databases!(
    a_session_that_asks_too_often_waits_and_no_other_does,
    an_address_that_asks_too_often_waits_whoever_is_behind_it,
    a_stranger_waits_sooner_than_those_who_are_signed_in,
    an_address_written_otherwise_does_not_hide_a_sign_in,
    whoever_asks_whether_the_server_is_ready_does_not_keep_its_database_busy,
    a_session_that_ends_while_a_body_is_on_its_way_does_nothing_more,
    a_head_that_does_not_end_is_given_up,
    a_body_that_does_not_end_is_given_up_and_nothing_is_written,
    a_body_longer_than_it_may_be_or_said_to_be_is_refused,
    a_head_that_is_too_long_is_refused,
    what_is_no_http_is_a_bad_request,
    head_options_and_trace_are_not_taken_and_no_origin_is_let_in,
);

/// None comes back within a test.
fn rate(burst: u32) -> Option<Rate> {
    Some(Rate { every: Duration::from_secs(3600), burst })
}

fn small_town(world: World) -> Town {
    Town::with(world, Setup { producers: 1, ..Setup::default() })
}

/// The same town, its server under other limits, its people's clients pointed there.
fn limited(town: Town, limits: Limits) -> Town {
    let world = town.world.with_limits(limits);
    let here = |client: &Client| world.anybody().with_token(client.token.as_ref().unwrap());
    let tills = town.tills.into_iter().map(|mut till| {
        till.client = here(&till.client);
        till
    });
    let tills = tills.collect();
    let (manager, worker, administrator) = (here(&town.manager), here(&town.worker), here(&town.administrator));
    Town { manager, worker, administrator, tills, world, ..town }
}

#[track_caller]
fn waits(answer: Answer) {
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((3000..=3600).contains(&seconds), "{seconds}");
    answer.refused(429, "too_many_requests");
}

fn from(client: &Client, address: &str, path: &str) -> Answer {
    client.send("GET", path, &[("x-forwarded-for", address)], None)
}

fn a_session_that_asks_too_often_waits_and_no_other_does(world: World) {
    let town = small_town(world);
    let colleague = join(&town.world, &town.manager, &town.structure, false);
    let card = town.new_card();
    let town = limited(town, Limits { session: rate(3), ..no_limits() });
    let colleague = town.world.anybody().with_token(colleague.token.as_ref().unwrap());
    for _ in 0..3 {
        town.worker.get("/api/v1/households").expect(200);
    }
    waits(town.worker.get("/api/v1/households"));
    waits(town.worker.get("/api/v1/access/me"));
    // of the same organisation and address, but somebody else
    colleague.get("/api/v1/households").expect(200);

    let till = &town.tills[0];
    for _ in 0..3 {
        till.redeem(&card.token, 100).expect(201);
    }
    let before = Sql::of(&town.world).counts();
    waits(till.redeem(&card.token, 100));
    assert_eq!(Sql::of(&town.world).counts(), before);
    // what has no session is not counted with any
    town.world.anybody().get("/api/v1/access/me").refused(401, "unauthenticated");
    town.world.verify();
}

fn an_address_that_asks_too_often_waits_whoever_is_behind_it(world: World) {
    let town = limited(small_town(world), Limits { address: rate(4), ..no_limits() });
    let path = "/api/v1/access/me";
    for client in [&town.worker, &town.manager, &town.worker, &town.manager] {
        from(client, "192.0.2.1", path).expect(200);
    }
    waits(from(&town.worker, "192.0.2.1", path));
    waits(from(&town.world.anybody(), "192.0.2.1", path));
    waits(from(&town.world.anybody(), "192.0.2.1", "/nowhere"));
    from(&town.worker, "192.0.2.2", path).expect(200);
    // a client's own word for its address is not taken
    waits(from(&town.worker, "192.0.2.3, 192.0.2.1", path));
    // one subscriber has a whole /64 of IPv6
    for host in 1..=4 {
        from(&town.worker, &format!("2001:db8::{host}"), path).expect(200);
    }
    waits(from(&town.worker, "2001:db8::ffff:5", path));
    from(&town.worker, "2001:db8:0:1::5", path).expect(200);
    // who watches over the service is always answered
    for _ in 0..6 {
        from(&town.world.anybody(), "192.0.2.1", "/health/ready").expect(200);
    }
}

fn a_stranger_waits_sooner_than_those_who_are_signed_in(world: World) {
    let town = limited(small_town(world), Limits { stranger: rate(3), ..no_limits() });
    let (anybody, here) = (town.world.anybody(), ("x-forwarded-for", "192.0.2.1"));
    let login = |email: &str| {
        let body = json!({"email": email, "password": "des pommes et des poires"});
        anybody.send("POST", "/api/v1/access/login", &[here], Some(body))
    };
    // a sign-in, no token, and one that is no good
    login("nobody@primeur.example").refused(401, "invalid_credentials");
    from(&anybody, here.1, "/api/v1/households").refused(401, "unauthenticated");
    let forged = anybody.with_token("a.b.c");
    from(&forged, here.1, "/api/v1/households").refused(401, "unauthenticated");
    let before = Sql::of(&town.world).counts();
    waits(login("admin@primeur.example"));
    waits(from(&anybody, here.1, "/api/v1/households"));
    waits(from(&forged, here.1, "/api/v1/households"));
    // a token in the header does not open the sign-in
    let body = json!({"email": "admin@primeur.example", "password": "des pommes et des poires"});
    waits(forged.send("POST", "/api/v1/access/login", &[here], Some(body)));
    assert_eq!(Sql::of(&town.world).counts(), before);
    // those who work there do not notice
    for _ in 0..5 {
        from(&town.worker, here.1, "/api/v1/households").expect(200);
    }
    from(&forged, "192.0.2.2", "/api/v1/households").refused(401, "unauthenticated");
}

fn an_address_written_otherwise_does_not_hide_a_sign_in(world: World) {
    let world = world.with_limits(Limits { stranger: rate(3), ..no_limits() });
    let body = json!({"email": "nobody@primeur.example", "password": "des pommes et des poires"}).to_string();
    // a token in the header, so that nothing but the address tells that somebody signs in
    let log_in = |path: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: primeur\r\nAuthorization: Bearer a.b.c\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        exchange(&world, format!("{head}{body}").as_bytes())
    };
    let written = ["/api/v1/access/login", "/api/v1/%61ccess/login", "/%61pi/v1/access/log%69n"];
    for path in written {
        refused(&log_in(path), "401", "invalid_credentials");
    }
    for path in written {
        refused(&log_in(path), "429", "too_many_requests");
    }
}

fn whoever_asks_whether_the_server_is_ready_does_not_keep_its_database_busy(world: World) {
    let world = world.with_limits(Limits { ready: Duration::from_secs(3600), ..no_limits() });
    let (anybody, mut sql) = (world.anybody(), Sql::of(&world));
    // the first of all, and those who come while it looks
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..40).map(|_| scope.spawn(|| anybody.get("/health/ready").expect(200))).collect();
        asked.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap()["status"], "ok"));
    });
    // whoever looked now would fail
    sql.run("ALTER TABLE programmes RENAME TO programmes_aside").unwrap();
    for _ in 0..5 {
        anybody.get("/health/ready").expect(200);
        anybody.get("/health/live").expect(200);
    }
    // and when its time is over it is looked for anew
    let world = world.with_limits(no_limits());
    world.anybody().get("/health/ready").refused(500, "internal");
    sql.run("ALTER TABLE programmes_aside RENAME TO programmes").unwrap();
    for _ in 0..2 {
        world.anybody().get("/health/ready").expect(200);
    }
}

/// A third of a second; for the rest as long as a busy machine may need.
const SOON: Duration = Duration::from_millis(300);

fn hurried() -> Limits {
    Limits { head: Duration::from_secs(5), body: SOON, idle: SOON, ..no_limits() }
}

fn connect(world: &World) -> TcpStream {
    let socket = TcpStream::connect(world.socket()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

/// What comes until the server hangs up; it panics if it does not within half a minute.
#[track_caller]
fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("{e}: {}", String::from_utf8_lossy(&answer)),
    }
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn exchange(world: &World, request: &[u8]) -> String {
    let mut socket = connect(world);
    // a server that has seen enough may hang up before all is sent
    let _ = socket.write_all(request);
    rest(&mut socket)
}

/// A request of which all but the end of its body is sent.
struct Parked(TcpStream, Vec<u8>);

impl Parked {
    fn new(bench: &Bench, operation: &Operation, client: &Client) -> Self {
        let body = serde_json::to_vec(&bench.body(operation)).unwrap();
        let key = if operation.needs_key { format!("Idempotency-Key: {}\r\n", new_key()) } else { String::new() };
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            operation.method,
            bench.path(operation),
            client.token.as_ref().unwrap(),
            body.len()
        );
        let mut socket = connect(&bench.town.world);
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(&body[..3]).unwrap();
        Parked(socket, body)
    }

    #[track_caller]
    fn finish(mut self) -> String {
        self.0.write_all(&self.1[3..]).unwrap();
        rest(&mut self.0)
    }
}

/// A permit is given on a request's head, and its body may come long after: what counts is who is signed in by then.
fn a_session_that_ends_while_a_body_is_on_its_way_does_nothing_more(world: World) {
    let mut bench = Bench::new(world);
    let operations: Vec<Operation> = Bench::with_bodies().into_iter().filter(|operation| !operation.public).collect();
    let email = |operation| bench.person(operation).get("/api/v1/access/me").expect(200)["email"].clone();
    let emails: Vec<Value> = operations.iter().map(email).collect();
    assert!(operations.len() > 20, "{}", operations.len());
    // a session has two requests: when it waits after one, the one that is parked has got its permit
    bench.town = limited(bench.town, Limits { session: rate(2), ..no_limits() });
    for (operation, email) in operations.iter().zip(&emails) {
        let log_in = || log_in(&bench.town.world, email.as_str().unwrap());
        let has_its_permit = |client: &Client| {
            client.get("/api/v1/access/me").expect(200);
            client.get("/api/v1/access/me").status == 429
        };
        let (ended, stays, standing) = loop {
            let (ends, stays) = (log_in(), log_in());
            let [ended, standing] = [&ends, &stays].map(|client| Parked::new(&bench, operation, client));
            if has_its_permit(&ends) {
                break (ended, stays, standing);
            }
        };
        // its second request
        stays.act("/api/v1/access/sessions/revoke-others").expect(204);
        let before = Sql::of(&bench.town.world).counts();
        let answer = ended.finish();
        assert_eq!(problem(&answer).1["code"], "unauthenticated", "{}: {answer}", operation.id);
        assert_eq!(Sql::of(&bench.town.world).counts(), before, "{}", operation.id);
        let answer = standing.finish();
        assert!(!["401", "429"].contains(&problem(&answer).0), "{}: {answer}", operation.id);
    }
}

/// The status of a whole answer, and its problem.
#[track_caller]
fn problem(answer: &str) -> (&str, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or("");
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[track_caller]
fn refused(answer: &str, status: &str, code: &str) {
    let (found, problem) = problem(answer);
    assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{answer}");
}

fn a_head_that_does_not_end_is_given_up(world: World) {
    let world = world.with_limits(Limits { head: SOON, ..no_limits() });
    let begun = "GET /health/live HTTP/1.1\r\nHost: primeur\r\nX-Slow: ";
    assert_eq!(problem(&exchange(&world, begun.as_bytes())).0, "408");

    // nothing at all
    let world = world.with_limits(Limits { head: 2 * SOON, idle: SOON, ..no_limits() });
    let silent = exchange(&world, b"");
    assert!(silent.is_empty() || problem(&silent).0 == "408", "{silent}");
    // the same on a connection that has been answered before, a byte at a time
    let mut socket = connect(&world);
    socket.write_all(b"GET /health/live HTTP/1.1\r\nHost: primeur\r\n\r\n").unwrap();
    let mut first = [0; 4096];
    let length = socket.read(&mut first).unwrap();
    assert!(first[..length].starts_with(b"HTTP/1.1 200"));
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (started, mut bytes) = (Instant::now(), begun.bytes().chain(std::iter::repeat(b'x')));
    loop {
        let sent = socket.write_all(&[bytes.next().unwrap()]);
        match socket.read(&mut first) {
            Ok(0) => break,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(_) => {}
            Err(_) => break,
        }
        if sent.is_err() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "a head of a byte at a time is waited for without end");
    }
}

fn redemption(town: &Town, voucher: &str, more: &str) -> (String, String) {
    let till = &town.tills[0];
    let body = till.basket(voucher, 100, false).to_string();
    let token = till.client.token.as_ref().unwrap();
    let head = format!(
        "POST /api/v1/redemptions HTTP/1.1\r\nHost: primeur\r\nAuthorization: Bearer {token}\r\n\
         Idempotency-Key: marche-0001\r\nContent-Type: application/json\r\n{more}\r\n\r\n",
    );
    (head, body)
}

fn a_body_that_does_not_end_is_given_up_and_nothing_is_written(world: World) {
    let town = small_town(world);
    let card = town.new_card();
    let town = limited(town, hurried());
    town.tills[0].redeem(&card.token, 100).expect(201);
    let before = Sql::of(&town.world).counts();
    for length in ["Content-Length: 300", "Transfer-Encoding: chunked"] {
        let (head, body) = redemption(&town, &card.token, length);
        let part = if length.ends_with("chunked") { format!("40\r\n{}", &body[..64]) } else { body[..64].to_owned() };
        let answer = exchange(&town.world, format!("{head}{part}").as_bytes());
        refused(&answer, "408", "request_timeout");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        refused(&exchange(&town.world, head.as_bytes()), "408", "request_timeout");
        // whoever is not let in is not waited for at all
        let stranger = head.replace("Bearer ", "Bearer x");
        let answer = exchange(&town.world, format!("{stranger}{part}").as_bytes());
        refused(&answer, "401", "unauthenticated");
    }
    assert_eq!(Sql::of(&town.world).counts(), before);
    town.world.verify();
}

fn a_body_longer_than_it_may_be_or_said_to_be_is_refused(world: World) {
    let town = small_town(world);
    let card = town.new_card();
    let town = limited(town, hurried());
    let before = Sql::of(&town.world).counts();
    // said to be too long: nobody waits for it
    let (head, body) = redemption(&town, &card.token, "Content-Length: 65537");
    refused(&exchange(&town.world, head.as_bytes()), "413", "payload_too_large");
    let (head, _) = redemption(&town, &card.token, "Content-Length: 99999999999999999999999");
    assert_eq!(problem(&exchange(&town.world, head.as_bytes())).0, "400");
    // not said, and too long
    let (head, _) = redemption(&town, &card.token, "Transfer-Encoding: chunked");
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let answer = exchange(&town.world, format!("{head}{}0\r\n\r\n", chunk.repeat(17)).as_bytes());
    refused(&answer, "413", "payload_too_large");
    // shorter than it says, then closed for sending
    let (head, _) = redemption(&town, &card.token, &format!("Content-Length: {}", body.len() + 1));
    let mut socket = connect(&town.world);
    socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = rest(&mut socket);
    assert!(answer.is_empty() || matches!(problem(&answer).0, "400" | "408"), "{answer}");
    // both lengths, or two of them: two servers could read two requests
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len()),
        format!("Content-Length: {}\r\nContent-Length: {}", body.len(), body.len() + 1),
        "Content-Length: -1".to_owned(),
        "Content-Length: +5".to_owned(),
        "Transfer-Encoding: gzip".to_owned(),
    ] {
        let (head, _) = redemption(&town, &card.token, &lengths);
        let answer = exchange(&town.world, format!("{head}{body}").as_bytes());
        assert_eq!(problem(&answer).0, "400", "{lengths}: {answer}");
    }
    // longer than it says: what follows is no request
    let (head, _) = redemption(&town, &card.token, "Content-Length: 2");
    let answer = exchange(&town.world, format!("{head}{body}").as_bytes());
    assert!(answer.contains("400") && !answer.contains("HTTP/1.1 2") && !answer.contains("HTTP/1.1 5"), "{answer}");
    assert_eq!(Sql::of(&town.world).counts(), before);
    town.world.verify();
}

fn a_head_that_is_too_long_is_refused(world: World) {
    let town = small_town(world);
    let before = Sql::of(&town.world).counts();
    // beyond 65,534 bytes it is the client that takes no address
    for length in [10_000, 60_000] {
        let long = "x".repeat(length);
        for client in [&town.world.anybody(), &town.worker] {
            for header in ["x-anything", "accept-language", "cookie", "idempotency-key", "x-forwarded-for"] {
                let answer = client.send("GET", "/api/v1/households", &[(header, &long)], None);
                answer.refused(431, "headers_too_large");
            }
            client.get(&format!("/api/v1/households?cursor={long}")).refused(431, "headers_too_large");
            client.get(&format!("/{long}")).refused(431, "headers_too_large");
        }
    }
    let english =
        town.world.anybody().send("GET", "/", &[("accept-language", "en"), ("x-long", &"x".repeat(9000))], None);
    assert_eq!(english.refused(431, "headers_too_large")["title"], "Headers too long");
    let many: Vec<String> = (0..90).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    town.worker.send("GET", "/api/v1/households", &many, None).expect(200);
    // beyond what is read at all, the answer is as short
    let head = "GET /health/live HTTP/1.1\r\nHost: primeur\r\n";
    for more in [format!("X-Long: {}\r\n\r\n", "x".repeat(200_000)), "X-Many: 1\r\n".repeat(200) + "\r\n"] {
        let answer = exchange(&town.world, format!("{head}{more}").as_bytes());
        assert!(answer.is_empty() || problem(&answer).0 == "431", "{answer}");
    }
    assert_eq!(Sql::of(&town.world).counts(), before);
}

fn what_is_no_http_is_a_bad_request(world: World) {
    for request in [
        "\r\n\r\nhello\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nX-Nul: a\0b\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /health/live HTTP/1.1\r\n folded: x\r\n\r\n",
        "GET /a b c HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n",
    ] {
        let answer = exchange(&world, request.as_bytes());
        assert_eq!(problem(&answer).0, "400", "{request:?}: {answer}");
    }
    world.anybody().get("/health/live").expect(200);
}

fn head_options_and_trace_are_not_taken_and_no_origin_is_let_in(world: World) {
    let origin = "Origin: https://elsewhere.example\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n";
    for method in ["HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
        for path in ["/health/live", "/api/v1/redemptions"] {
            let answer =
                exchange(&world, format!("{method} {path} HTTP/1.1\r\nHost: primeur\r\n{origin}\r\n").as_bytes());
            let (status, problem) = problem(&answer);
            assert_eq!(status, "405", "{answer}");
            let lower = answer.to_lowercase();
            assert!(lower.contains("\r\nallow: ") && !lower.contains("access-control-"), "{answer}");
            assert!(lower.contains("\r\nstrict-transport-security: max-age=63072000\r\n"), "people come by https");
            assert!(!lower.contains("\r\nserver:") && !lower.contains("elsewhere"), "nothing is echoed: {answer}");
            assert_eq!(problem["code"].is_null(), method == "HEAD", "{answer}");
        }
    }
}
