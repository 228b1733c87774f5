//! The till: what is covered, what is refused, and that no cent is spent twice.

use serde_json::json;

use crate::support::{Town, World, cents, on_both_databases};

on_both_databases!(a_basket_is_covered_and_the_rest_of_the_month_stays,);

fn a_basket_is_covered_and_the_rest_of_the_month_stays(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    assert_eq!(till.check(&card.token), json!({"accepted": true, "code": null, "detail": null, "spendable": null}));
    let sold = till.redeem(&card.token, 2540).expect(201);
    assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!("25.40"), &json!("0.00")));
    assert_eq!(town.balance(&card.enrolment), 3460);
    let sold = till.redeem(&card.code, 100).expect(201);
    assert_eq!(cents(&sold["covered"]), 100);
    town.world.verify();
}
