//! What holds on SQLite and on PostgreSQL alike. Each behaviour is a test of its own on SQLite; on PostgreSQL all run
//! one after the other, each with a database of its own on one server.
#![allow(clippy::unwrap_used)]

mod common;
mod suite {
    pub(crate) mod keys;
    pub(crate) mod s1;
    pub(crate) mod s2;
    pub(crate) mod sessions;
}

use common::Place;
use gateway_testkit::PostgresServer;

macro_rules! suite {
    ($($module:ident: $($name:ident)+;)+) => {
        $($(
            #[tokio::test]
            async fn $name() {
                suite::$module::$name(Place::sqlite()).await;
            }
        )+)+

        #[tokio::test]
        async fn all_of_it_holds_on_postgresql() {
            let server = PostgresServer::start();
            $($(
                println!("{}", stringify!($name));
                suite::$module::$name(Place::postgres(&server.url(), stringify!($name)).await).await;
            )+)+
        }
    };
}

suite! {
    s1:
        s1_02_signin_registers_an_account_with_its_profile
        s1_03_login_answers_an_access_and_a_refresh_token
        s1_04_logout_ends_the_session_that_id_names
        s1_05_renew_answers_a_new_access_token
        s1_06_revoke_ends_one_session_by_id
        s1_20_an_ended_or_expired_session_cannot_be_renewed
        s1_21_passwords_are_kept_as_hashes_and_never_answered
        s1_22_both_tokens_are_bound_to_one_session;
    s2:
        s2_02_tokens_are_fetched_by_the_oauth2_password_form
        s2_03_an_expired_access_token_is_replaced_by_the_refresh_token
        s2_04_users_are_created_read_listed_changed_and_deleted
        s2_20_answers_carry_the_words_of_s2;
    sessions:
        a_replayed_refresh_token_ends_the_whole_family
        concurrent_renewals_get_the_same_answer
        own_sessions_are_listed_and_ended
        a_session_is_ended_by_its_owner_and_administrators_only
        a_token_is_revoked_by_whoever_has_it
        the_sink_hears_of_every_end_and_a_failing_one_changes_nothing
        whoever_goes_away_leaves_nothing_half_done
        guessing_slows_down_and_is_forgotten
        an_address_that_guesses_many_names_slows_down
        unknown_names_and_wrong_passwords_cost_and_say_the_same
        an_account_from_before_costs_no_less_than_none
        guesses_by_address_and_by_name_count_together
        a_login_on_its_way_ends_with_the_password_it_was_made_with
        names_with_a_nul_are_nobodys
        a_login_rehashes_when_the_parameters_grew
        a_new_password_ends_the_other_sessions
        a_disabled_account_has_no_way_in
        mistakes_are_answered_as_documented
        old_rows_are_cleared_away;
    keys:
        tokens_verify_with_the_published_keys
        keys_rotate_with_overlap
        a_compromised_key_ends_all_its_tokens
        keys_survive_a_restart_and_are_sealed
        instances_at_once_make_one_key
        an_instance_learns_of_anothers_key;
}
