//! The services of reference system S1's example: products, orders, and a chat that also generates texts. They keep
//! what they hold in memory, and believe `X-User-ID`, which only the gateway sets.
//!
//! | request | answer |
//! |---|---|
//! | `GET`, `POST /api/products`, `GET`, `PUT`, `DELETE /api/products/{id}` | products, the same for all |
//! | the same of `/api/orders` | orders, each caller's own |
//! | `GET /api/chat` | a WebSocket: what anybody says, everybody hears |
//! | `GET /api/generate?prompt=…` | server-sent events, a word each 100 ms |

mod chat;
mod table;

pub use chat::chat;
pub use table::{orders, products};
