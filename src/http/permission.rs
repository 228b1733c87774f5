//! Permission as the type of a handler's parameter: a handler that takes `MayEnrol` runs for nobody else.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};

use super::State;
use super::address::ClientAddress;
use super::guard::Guard;
use super::list::Cursors;
use super::order::Checking;
use super::problem::{Answer, Problem};
use crate::access::{self, Actor, Callers, Role, second_factor};
use crate::kit::error::{Code, Error};

/// Who may do something: the roles, whether only their leads, and whether before they have a second factor that they need.
pub trait Policy: 'static {
    const ROLES: &'static [Role];
    const LEAD: bool = false;
    const BEFORE_SECOND_FACTOR: bool = false;
    /// The handler looks itself, in its own transaction, whether its actor stands as they did: a token that was seen a
    /// moment ago is not looked up again before.
    const LOOKED_AT_LATER: bool = false;
}

/// A request from somebody whom policy `P` lets in; 401 or 403 otherwise.
pub struct Permit<P: Policy> {
    pub actor: Actor,
    /// For the list that is asked for, if it is one.
    pub cursors: Cursors,
    policy: PhantomData<P>,
}

macro_rules! policies {
    ($($(#[$meta:meta])* $name:ident: $($role:ident)|+ $(, lead = $lead:literal)?
        $(, before_second_factor = $before:literal)? $(, looked_at_later = $later:literal)?;)*) => {
        /// The policies themselves; handlers use the aliases beside.
        pub mod policy {
            use super::{Policy, Role};
            $(
                pub enum $name {}
                impl Policy for $name {
                    const ROLES: &'static [Role] = &[$(Role::$role),+];
                    $(const LEAD: bool = $lead;)?
                    $(const BEFORE_SECOND_FACTOR: bool = $before;)?
                    $(const LOOKED_AT_LATER: bool = $later;)?
                }
            )*
        }
        $($(#[$meta])* pub type $name = Permit<policy::$name>;)*
    };
}

// Which rows they then see or change is the domain's business; this page says who may ask at all.
policies! {
    /// Everybody who is signed in, for what concerns their own login.
    AnyRole: Administrator | Manager | SocialWorker | Producer | Funder | Evaluator, before_second_factor = true;

    // access
    /// And what becomes of them later. For which organisations, and leads only, is decided there.
    MayCreatePeople: Administrator | Manager | SocialWorker | Producer | Funder;
    MayReadPeople: Administrator | Manager | SocialWorker | Producer | Funder;
    MayManageOrganisations: Administrator | Manager;

    MayReadAudit: Administrator | Manager | Evaluator;

    // programme
    MayManageProgrammes: Manager;
    MayReadProgrammes: Administrator | Manager | SocialWorker | Producer | Funder | Evaluator;
    MayReadPresets: Administrator | Manager;
    MayReadBudget: Administrator | Manager | Evaluator;
    MayReadAgreements: Administrator | Manager | Funder | Evaluator;

    // producer
    MayManageProducer: Producer, lead = true;
    MayWriteStalls: Producer;
    MayApply: Producer;
    MayReadProducers: Administrator | Manager;
    MayReadProducer: Administrator | Manager | Producer;
    MayReadStalls: Administrator | Manager | SocialWorker | Producer;
    MayDecideApplications: Manager;

    /// Households, enrolments and vouchers.
    MayEnrol: SocialWorker;

    /// Check, redeem and void, at a market's pace.
    MayRedeem: Producer, looked_at_later = true;
    /// Set baskets aside, and read one's own of them and of purchases.
    MaySell: Producer;
    /// The seller, or the household's structure.
    MayReleaseHolds: Producer | SocialWorker;

    MayReconcile: Administrator | Manager | Funder | Evaluator;
}

impl<P: Policy> FromRequest for Permit<P> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Answer<Self>>>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let checking = Checking::begin(req);
        let state = req.app_data::<web::Data<State>>().cloned();
        let mut headers = req.headers().get_all(header::AUTHORIZATION);
        let path = req.path().to_owned();
        let (guard, client) = (Guard::of(req), ClientAddress::of(req));
        let callers = req.app_data::<web::Data<Callers>>().filter(|_| P::LOOKED_AT_LATER).cloned();
        // two headers are one too many to know who asks
        let token = match (headers.next(), headers.next()) {
            (Some(only), None) => only.to_str().ok().and_then(bearer).map(str::to_owned),
            _ => None,
        };
        Box::pin(async move {
            let state = state.ok_or_else(|| Error::Internal("the app was built without its State".to_owned()))?;
            let token = token.ok_or(Error::Refused(Code::Unauthenticated))?;
            let seen = callers.as_ref().and_then(|callers| callers.seen(state.db.now(), &state.keys.now(), &token));
            let look_up = move |state: &State| {
                let (now, keys) = (state.db.now(), state.keys.now());
                let known = state.db.read(|conn| access::authenticate(conn, now, &keys, &state.access, &token))?;
                callers.inspect(|callers| callers.remember(now, &token, &known));
                Ok(known.actor)
            };
            let actor = match seen {
                Some(actor) => Ok(actor),
                None => state.run(look_up).await,
            };
            if let Some(guard) = guard {
                match &actor {
                    Ok(actor) => guard.admit_session(actor.session)?,
                    Err(Problem(Error::Refused(Code::Unauthenticated))) => guard.admit_stranger(client)?,
                    Err(_) => {}
                }
            }
            let actor = actor?;
            if !P::BEFORE_SECOND_FACTOR && second_factor::is_missing(&state.access, &actor) {
                return Err(Problem(Error::Refused(Code::SecondFactorMissing)));
            }
            if !lets_in::<P>(&actor) {
                return Err(Problem(Error::Refused(Code::Forbidden)));
            }
            checking.end();
            let cursors = Cursors::new(&state.keys.now().secret, actor.organisation, &path);
            Ok(Permit { actor, cursors, policy: PhantomData })
        })
    }
}

fn lets_in<P: Policy>(actor: &Actor) -> bool {
    P::ROLES.contains(&actor.role) && (actor.lead || !P::LEAD)
}

/// The token of an `Authorization` header; the scheme's case does not matter (RFC 9110 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::id::{OrganisationId, PersonId, SessionId};
    use crate::kit::time::Instant;

    #[test]
    fn only_a_bearer_token_is_read() {
        assert_eq!(bearer("Bearer abc.def"), Some("abc.def"));
        assert_eq!(bearer("bearer  abc"), Some("abc"));
        for bad in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_policy_lets_in_its_roles_and_where_it_says_so_only_leads() {
        let actor = |role, lead| {
            let now = Instant::from_microsecond(0);
            let (person, organisation) = (PersonId::new(now), OrganisationId::new(now));
            Actor { person, organisation, session: SessionId::new(now), role, lead, second_factor: false }
        };
        assert!(lets_in::<policy::MayEnrol>(&actor(Role::SocialWorker, false)));
        assert!(!lets_in::<policy::MayEnrol>(&actor(Role::Administrator, true)));
        assert!(lets_in::<policy::MayManageProducer>(&actor(Role::Producer, true)));
        assert!(!lets_in::<policy::MayManageProducer>(&actor(Role::Producer, false)));
        assert!(!lets_in::<policy::MayReadPeople>(&actor(Role::Evaluator, true)));
    }
}
