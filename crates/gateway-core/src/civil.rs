//! Dates of the Gregorian calendar as days since 1970, after Howard Hinnant, "chrono-Compatible Low-Level Date
//! Algorithms": years are counted from March, so that the leap day comes last.

/// From the first of March in the year 0 to the first of January 1970.
const EPOCH: i64 = 719_468;
const DAYS_OF_ERA: i64 = 146_097;

/// The days from 1970 to a date. A month is 1 to 12; of a day that its month does not have, the day of the next.
///
/// ```
/// use gateway_core::civil;
///
/// assert_eq!(civil::days(2000, 2, 29), 11_016);
/// assert_eq!(civil::date(11_016), (2000, 2, 29));
/// ```
#[must_use]
pub fn days(year: i64, month: u8, day: u8) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// The year, the month and the day, so many days after the first of January 1970.
#[must_use]
pub fn date(days: i64) -> (i64, u8, u8) {
    let shifted = days + EPOCH;
    let (era, of_era) = (shifted.div_euclid(DAYS_OF_ERA), shifted.rem_euclid(DAYS_OF_ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    // Both are small.
    (era * 400 + year + i64::from(month <= 2), month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_has_its_date_and_comes_after_the_one_before() {
        let mut before = (1969, 12, 31);
        for day in 0..DAYS_OF_ERA {
            let now = date(day);
            assert!(now > before, "{before:?}, {now:?}");
            assert_eq!(days(now.0, now.1, now.2), day, "{now:?}");
            before = now;
        }
        assert_eq!(before, (2369, 12, 31));
        for (day, expected) in [(-1, (1969, 12, 31)), (-EPOCH - 1, (0, 2, 29)), (19_782, (2024, 2, 29))] {
            assert_eq!(date(day), expected);
            assert_eq!(days(expected.0, expected.1, expected.2), day);
        }
    }
}
