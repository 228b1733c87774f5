//! Every route of the API, on one page.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};

use crate::access::api as access;
use crate::access::second_factor::api as second_factor;
use crate::audit::api as audit;
use crate::budget::api as budget;
use crate::contribution::api as contribution;
use crate::enrolment::api as enrolment;
use crate::health;
use crate::household::api as household;
use crate::privacy::api as privacy;
use crate::producer::api as producer;
use crate::programme::api as programme;
use crate::reconciliation::api as reconciliation;
use crate::redemption::api as redemption;
use crate::redemption::collect::api as collect;
use crate::simulation::api as simulation;
use crate::voucher::api as voucher;

macro_rules! routes {
    ($($path:literal => $($method:ident $handler:path),+;)*) => {
        /// Method and path of each, for the tests that compare them with the contract.
        pub const ROUTES: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),*];

        pub fn configure(config: &mut ServiceConfig) {
            $(
                let resource = web::resource($path);
                $(let resource = resource.route(web::method(Method::$method).to($handler));)+
                config.service(resource);
            )*
        }
    };
}

routes! {
    "/health/live" => GET health::live;
    "/health/ready" => GET health::ready;

    // the till's before all others: paths are tried in this order
    "/api/v1/redemptions" => POST redemption::redeem, GET redemption::list_redemptions;
    "/api/v1/redemptions/{id}" => GET redemption::get_redemption;
    "/api/v1/redemptions/{id}/void" => POST redemption::void_redemption;
    "/api/v1/vouchers/check" => POST redemption::check_voucher;

    "/api/v1/access/login" => POST access::log_in;
    "/api/v1/access/refresh" => POST access::refresh;
    "/api/v1/access/logout" => POST access::log_out;
    "/api/v1/access/me" => GET access::me;
    "/api/v1/access/second-factor" => POST second_factor::begin_second_factor;
    "/api/v1/access/second-factor/confirm" => POST second_factor::confirm_second_factor;
    "/api/v1/access/second-factor/recovery-codes" => POST second_factor::renew_recovery_codes;
    "/api/v1/access/second-factor/remove" => POST second_factor::remove_second_factor;
    "/api/v1/access/accept-invitation" => POST access::accept_invitation;
    "/api/v1/access/password" => POST access::change_password;
    "/api/v1/access/sessions/revoke-others" => POST access::revoke_other_sessions;
    "/api/v1/people" => POST access::create_person, GET access::list_people;
    "/api/v1/people/{id}/invite" => POST access::invite_person;
    "/api/v1/people/{id}/disable" => POST access::disable_person;
    "/api/v1/people/{id}/enable" => POST access::enable_person;
    "/api/v1/people/{id}/sessions/revoke" => POST access::revoke_sessions;
    "/api/v1/people/{id}/second-factor/reset" => POST second_factor::reset_second_factor;
    "/api/v1/organisations" => POST access::create_organisation, GET access::list_organisations;
    "/api/v1/organisations/{id}" => GET access::get_organisation;

    "/api/v1/audit" => GET audit::list_entries;

    "/api/v1/presets" => GET programme::get_presets;
    "/api/v1/simulations" => POST simulation::simulate;
    "/api/v1/programmes" => POST programme::create_programme, GET programme::list_programmes;
    "/api/v1/programmes/{id}" => GET programme::get_programme, PUT programme::rewrite_programme;
    "/api/v1/programmes/{id}/rules" => GET programme::list_rules, PUT programme::change_rules;
    "/api/v1/programmes/{id}/simulation" => POST simulation::simulate_programme;
    "/api/v1/programmes/{id}/open" => POST programme::open_programme;
    "/api/v1/programmes/{id}/close" => POST programme::close_programme;
    "/api/v1/programmes/{id}/budget" => GET budget::get_budget;
    "/api/v1/programmes/{id}/members" => GET programme::list_members;
    "/api/v1/programmes/{id}/members/{organisation_id}" => PUT programme::admit_member;
    "/api/v1/programmes/{id}/agreements" => POST programme::sign_agreement;
    "/api/v1/agreements" => GET programme::list_agreements;
    "/api/v1/agreements/{id}" => GET programme::get_agreement;

    "/api/v1/producers/me" => PUT producer::set_profile;
    "/api/v1/producers" => GET producer::list_producers;
    "/api/v1/producers/{id}" => GET producer::get_producer;
    "/api/v1/stalls" => POST producer::open_stall, GET producer::list_stalls;
    "/api/v1/stalls/{id}/close" => POST producer::close_stall;
    "/api/v1/applications" => GET producer::list_own_applications;
    "/api/v1/programmes/{id}/applications/me" => PUT producer::apply;
    "/api/v1/programmes/{id}/applications" => GET producer::list_applications;
    "/api/v1/programmes/{id}/applications/{producer_id}/approve" => POST producer::approve;
    "/api/v1/programmes/{id}/applications/{producer_id}/refuse" => POST producer::refuse;
    "/api/v1/programmes/{id}/applications/{producer_id}/suspend" => POST producer::suspend;

    "/api/v1/households" => POST household::create, GET household::list;
    "/api/v1/households/search" => POST household::search;
    "/api/v1/households/{id}" => GET household::get, PUT household::recompose;
    "/api/v1/households/{id}/identity" => GET household::look, PUT household::identify, DELETE privacy::forget;
    "/api/v1/households/{id}/duplicates" => GET household::list_duplicates;
    "/api/v1/households/{id}/export" => GET privacy::export;
    "/api/v1/households/{id}/erase" => POST privacy::erase;
    "/api/v1/duplicates/{id}/dismiss" => POST household::dismiss_duplicate;

    "/api/v1/enrolments" => POST enrolment::enrol_household, GET enrolment::list_enrolments;
    "/api/v1/enrolments/{id}" => GET enrolment::get_enrolment;
    "/api/v1/enrolments/{id}/band" => PUT enrolment::set_band;
    "/api/v1/enrolments/{id}/suspend" => POST enrolment::suspend_enrolment;
    "/api/v1/enrolments/{id}/resume" => POST enrolment::resume_enrolment;
    "/api/v1/enrolments/{id}/leave" => POST enrolment::leave_programme;
    "/api/v1/enrolments/{id}/contributions" => POST contribution::contribute, GET contribution::list_contributions;
    "/api/v1/enrolments/{id}/denominations" => POST voucher::hand_over_denominations;

    "/api/v1/vouchers" => POST voucher::hand_over_voucher, GET voucher::list_vouchers;
    "/api/v1/vouchers/{id}" => GET voucher::get_voucher;
    "/api/v1/vouchers/{id}/qr" => GET voucher::get_voucher_qr;
    "/api/v1/vouchers/{id}/block" => POST voucher::block_voucher;
    "/api/v1/vouchers/{id}/unblock" => POST voucher::unblock_voucher;
    "/api/v1/vouchers/{id}/replace" => POST voucher::replace_voucher;

    "/api/v1/holds" => POST collect::hold_basket, GET collect::list_holds;
    "/api/v1/holds/{id}" => GET collect::get_hold;
    "/api/v1/holds/{id}/capture" => POST collect::capture_hold;
    "/api/v1/holds/{id}/release" => POST collect::release_hold;

    "/api/v1/agreements/{id}/reconciliations/{month}" => GET reconciliation::get_reconciliation;
}
