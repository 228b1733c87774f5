//! The program itself: its commands, its first start, its end, its log.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use primeur::kit::time::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::authenticator::Authenticator;
use crate::support::world::{PASSWORD, directory, new_postgresql_database};
use crate::support::{Client, process};

/// Where one deployment lies: a directory, a database and a port of its own.
struct Place {
    directory: PathBuf,
    database: String,
    address: String,
}

/// A running `primeur serve`, ended with the test.
struct Running {
    child: Child,
    address: String,
    log: PathBuf,
}

macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        $(
            mod $name {
                #[test]
                fn sqlite() {
                    super::$name(super::Place::on_sqlite());
                }

                #[test]
                fn postgresql() {
                    super::$name(super::Place::on(super::directory(), super::new_postgresql_database()));
                }
            }
        )*
    };
}

on_both_databases!(
    the_first_start_makes_keys_and_nobody,
    the_first_administrator_is_made_once_with_a_password_from_standard_input,
    an_administrator_sets_up_a_second_factor_first_and_has_a_way_back,
    a_start_without_the_keys_of_its_database_fails_and_makes_no_others,
    each_command_says_what_it_did,
    a_key_that_the_configuration_does_not_have_stops_the_start_and_is_named,
    what_was_accepted_is_finished_before_the_end,
    the_log_tells_requests_apart_and_nothing_of_people,
);

impl Place {
    fn on_sqlite() -> Self {
        let directory = directory();
        let url = format!("sqlite://{}/primeur.db", directory.display());
        Self::on(directory, url)
    }

    fn on(directory: PathBuf, database: String) -> Self {
        let place = Place { directory, database, address: process::address() };
        place.configure("");
        place
    }

    fn configure(&self, more: &str) {
        let Place { directory, database, address } = self;
        let text = format!(
            "[server]\nlisten = \"{address}\"\nworkers = 2\n[database]\nurl = \"{database}\"\n[keys]\ndirectory = \
             \"{}/keys\"\n{more}",
            directory.display()
        );
        std::fs::write(directory.join("primeur.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_primeur"));
        command.arg("--config").arg(self.directory.join("primeur.toml")).args(arguments);
        command.env_clear().current_dir(&self.directory);
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // a command that does not read its input may be gone already
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a command prints, if it succeeds.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn create_administrator(&self, email: &str, password: &str) -> Output {
        let names = ["--name", "Camille Vasseur", "--organisation", "Primeur"];
        self.run(&[&["admin", "create", "--email", email], names.as_slice()].concat(), password)
    }

    fn serve(&self) -> Running {
        let log = self.directory.join("log");
        let child = self.command(&["serve"]).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut running = Running { child, address: self.address.clone(), log };
        for _ in 0..600 {
            if TcpStream::connect(&running.address).is_ok() {
                return running;
            }
            assert!(running.child.try_wait().unwrap().is_none(), "it did not start: {}", running.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it does not listen: {}", running.log());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Running {
    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn ask_to_stop(&self) {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn ended(&mut self) -> ExitStatus {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it does not end: {}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn the_first_start_makes_keys_and_nobody(place: Place) {
    let service = place.serve();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let keys = place.directory.join("keys");
    let files: Vec<PathBuf> = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!((mode(keys), files.len()), (0o700, 4));
    assert!(files.into_iter().all(|file| mode(file) == 0o600));

    let client = service.client();
    assert_eq!(client.get("/health/live").expect(200), json!({"status": "ok"}));
    let kind = if place.database.starts_with("sqlite") { "sqlite" } else { "postgresql" };
    assert_eq!(client.get("/health/ready").expect(200), json!({"status": "ok", "database": kind}));
    for email in ["admin@primeur.example", "admin@example.com", "camille.vasseur@trois-vallees.example"] {
        client.log_in(email, PASSWORD).refused(401, "invalid_credentials");
    }
    client.get("/api/v1/people").refused(401, "unauthenticated");
    let mut second = place.command(&["serve"]).stderr(Stdio::null()).spawn().unwrap();
    assert!(!second.wait().unwrap().success(), "two served on one address");
}

fn the_first_administrator_is_made_once_with_a_password_from_standard_input(place: Place) {
    let short = place.create_administrator("admin@primeur.example", "onze lettre\n");
    assert!(!short.status.success());
    assert!(String::from_utf8(short.stderr).unwrap().contains("password"));
    let made = place.create_administrator("Admin@Primeur.example", &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(String::from_utf8(made.stdout).unwrap(), "admin@primeur.example may log in as administrator\n");
    let again = place.create_administrator("intrus@primeur.example", PASSWORD);
    assert!(!again.status.success());
    assert!(String::from_utf8(again.stderr).unwrap().contains("there is one already"));

    let service = place.serve();
    let person = service.client().log_in("admin@primeur.example", PASSWORD).expect(200)["person"].clone();
    assert_eq!((&person["role"], &person["lead"]), (&json!("administrator"), &json!(true)));
    service.client().log_in("intrus@primeur.example", PASSWORD).refused(401, "invalid_credentials");
}

fn a_start_without_the_keys_of_its_database_fails_and_makes_no_others(place: Place) {
    drop(place.serve());
    let (keys, kept) = (place.directory.join("keys"), place.directory.join("kept"));
    std::fs::rename(&keys, &kept).unwrap();
    let refused = place.run(&["serve"], "");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("restore them from your backup"), "{said}");
    assert!(place.says(&["issue"]).starts_with("issued 0"));
    assert!(!keys.exists(), "keys were made");
    std::fs::rename(&kept, &keys).unwrap();
    drop(place.serve());
}

fn each_command_says_what_it_did(place: Place) {
    assert_eq!(place.says(&["migrate"]), "6 migrations run\n");
    assert_eq!(place.says(&["migrate"]), "0 migrations run\n");
    let said = "issued 0, granted 0, freed 0, closed 0, pooled 0, moved up 0, ended 0, erased 0\n";
    assert_eq!(place.says(&["issue"]), said);
    let verified = place.says(&["verify"]);
    assert!(verified.starts_with("transfers: 0 checked\n") && verified.ends_with("\nOK\n"), "{verified}");
    assert_eq!(place.says(&["--version"]), format!("primeur {}\n", env!("CARGO_PKG_VERSION")));
    let help = place.says(&["--help"]);
    for command in ["demo", "serve", "migrate", "issue", "verify", "backup", "restore", "keys", "admin"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
}

fn a_key_that_the_configuration_does_not_have_stops_the_start_and_is_named(place: Place) {
    place.configure("dirrectory = \"x\"\n");
    let refused = place.run(&["serve"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("unknown key keys.dirrectory"));
    place.configure("");
    let refused = place.command(&["serve"]).env("PRIMEUR__SERVER__LISSTEN", "127.0.0.1:1").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("PRIMEUR__SERVER__LISSTEN"));
    assert!(!place.directory.join("keys").exists(), "it began before it had read its configuration");
}

/// Sends one request on a connection of its own, waits for the others to have sent theirs, and reads to the end.
/// Nothing where the connection was not taken.
fn raw_login(address: &str, number: usize, sent: &Barrier) -> Option<String> {
    let body = json!({"email": format!("personne-{number}@primeur.example"), "password": PASSWORD}).to_string();
    let head = "POST /api/v1/access/login HTTP/1.1\r\nHost: primeur.example\r\nConnection: close\r\n";
    let request = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    sent.wait();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = Vec::new();
    // a reset after the last byte of an answer is no matter; one before it shows in what is missing
    let _ = connection.read_to_end(&mut answer);
    (!answer.is_empty()).then(|| String::from_utf8(answer).unwrap())
}

fn what_was_accepted_is_finished_before_the_end(place: Place) {
    const TOGETHER: usize = 50;
    let mut service = place.serve();
    let sent = &Barrier::new(TOGETHER + 1);
    let address = &service.address.clone();
    let answers: Vec<Option<String>> = std::thread::scope(|scope| {
        let (answered, first) = std::sync::mpsc::channel();
        let log_in = move |number: usize, answered: std::sync::mpsc::Sender<()>| {
            let answer = raw_login(address, number, sent);
            let _ = answered.send(());
            answer
        };
        let threads: Vec<_> = (0..TOGETHER)
            .map(|n| (n, answered.clone()))
            .map(|(n, answered)| scope.spawn(move || log_in(n, answered)))
            .collect();
        sent.wait();
        // two passwords are checked at a time: with the first answer, the others are under way
        first.recv().unwrap();
        service.ask_to_stop();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(service.ended().code(), Some(0), "{}", service.log());
    let answers: Vec<String> = answers.into_iter().flatten().collect();
    assert!(answers.len() > 1, "nothing was under way");
    for answer in answers {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut off: {answer}"));
        assert!(head.starts_with("HTTP/1.1 401") || head.starts_with("HTTP/1.1 503"), "{head}");
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        assert_eq!(length, Some(body.len()), "cut off: {answer}");
        assert!(serde_json::from_str::<Value>(body).unwrap()["code"].is_string());
    }
    assert!(TcpStream::connect(&service.address).is_err());
    assert!(place.says(&["verify"]).ends_with("OK\n"));
}

/// By the system's clock: a code of the next half minute is good already, and newer than any used before.
fn an_administrator_sets_up_a_second_factor_first_and_has_a_way_back(place: Place) {
    const EMAIL: &str = "admin@primeur.example";
    assert!(place.create_administrator(EMAIL, PASSWORD).status.success());
    let mut service = place.serve();
    let client = service.client();
    let administrator = client.signed_in(&client.log_in(EMAIL, PASSWORD).expect(200));
    assert_eq!(administrator.get("/api/v1/access/me").expect(200)["second_factor"], "missing");
    administrator.get("/api/v1/organisations").refused(403, "second_factor_missing");
    let (authenticator, _) = Authenticator::in_force(&administrator, SystemClock.now());
    administrator.get("/api/v1/organisations").expect(200);
    client.log_in(EMAIL, PASSWORD).refused(401, "second_factor_required");
    service.ask_to_stop();
    assert_eq!(service.ended().code(), Some(0));

    let _service = place.serve();
    administrator.get("/api/v1/organisations").expect(200);
    let code = authenticator.code(SystemClock.now().plus_seconds(30));
    let body = json!({"email": EMAIL, "password": PASSWORD, "code": code});
    let again = client.signed_in(&client.post("/api/v1/access/login", body).expect(200));
    again.get("/api/v1/organisations").expect(200);

    let reset = ["admin", "reset-second-factor", "--email", EMAIL];
    assert_eq!(place.says(&reset), "admin@primeur.example has no second factor any more\n");
    again.get("/api/v1/access/me").refused(401, "unauthenticated");
    let administrator = client.signed_in(&client.log_in(EMAIL, PASSWORD).expect(200));
    administrator.get("/api/v1/audit").refused(403, "second_factor_missing");
    Authenticator::in_force(&administrator, SystemClock.now());
    let entries = administrator.get("/api/v1/audit").expect(200)["items"].clone();
    let entry = entries.as_array().unwrap().iter().find(|entry| entry["action"] == "second_factor_reset").unwrap();
    assert_eq!((&entry["person_id"], &entry["organisation_id"]), (&Value::Null, &Value::Null));

    let nobody = place.run(&["admin", "reset-second-factor", "--email", "personne@primeur.example"], "");
    assert!(!nobody.status.success());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nobody here has this address"), "{nobody:?}");
}

fn the_log_tells_requests_apart_and_nothing_of_people(place: Place) {
    place.configure("[access]\nsecond_factor = \"optional\"\n");
    assert!(place.create_administrator("admin@primeur.example", PASSWORD).status.success());
    let mut service = place.serve();
    let client = service.client();
    client.log_in("quelquun@primeur.example", PASSWORD).refused(401, "invalid_credentials");
    let tokens = client.log_in("admin@primeur.example", PASSWORD).expect(200);
    let administrator = client.signed_in(&tokens);
    let organisation = tokens["person"]["organisation"]["id"].as_str().unwrap();
    let named = [("x-request-id", "essai-7")];
    administrator.send("GET", &format!("/api/v1/organisations/{organisation}"), &named, None).expect(200);
    administrator.get(&format!("/api/v1/people?organisation_id={organisation}")).expect(200);
    let invited = administrator
        .post(
            "/api/v1/people",
            json!({"organisation_id": organisation, "email": "elise@primeur.example", "name": "Élise Lemoine", "lead": true}),
        )
        .expect(201);
    let accept = json!({"invitation": invited["invitation"], "password": "un tout autre mot de passe"});
    client.post("/api/v1/access/accept-invitation", accept).expect(204);
    client.post("/api/v1/access/refresh", json!({"refresh_token": tokens["refresh_token"]})).expect(200);
    client.get(&format!("/api/v1/nowhere/{organisation}")).refused(404, "not_found");
    administrator.post("/api/v1/people", json!({"email": "elise@primeur.example"})).refused(422, "invalid_request");

    service.ask_to_stop();
    assert_eq!(service.ended().code(), Some(0));
    let log = service.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    assert_eq!(answered.len(), 9, "{log}");
    let ids: std::collections::BTreeSet<&str> =
        answered.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert!(ids.len() == 9 && ids.contains("essai-7"), "{log}");
    assert!(
        answered.iter().any(|line| line["route"] == "/api/v1/organisations/{id}" && line["status"] == 200),
        "{log}"
    );

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let secrets = [
        text(&tokens["access_token"]),
        text(&tokens["refresh_token"]),
        text(&invited["invitation"]),
        text(&invited["person"]["id"]),
        organisation.to_owned(),
        PASSWORD.to_owned(),
        "un tout autre mot de passe".to_owned(),
        "Vasseur".to_owned(),
        "Lemoine".to_owned(),
        "@primeur.example".to_owned(),
        "nowhere".to_owned(),
        "Bearer".to_owned(),
        place.directory.join("keys").display().to_string(),
    ];
    for secret in secrets {
        assert!(!log.contains(&secret), "the log carries {secret}:\n{log}");
    }
}
