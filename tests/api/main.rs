//! The HTTP surface, rule by rule: WHIP (RFC 9725), WHEP (draft-ietf-wish-whep), the API, the pages. Most of it is rows
//! of tables, run in process against the real router over a scripted shard (`server`).

mod api;
mod auth;
mod cors;
mod events;
mod layer;
mod listen;
mod malformed;
mod node;
mod offers;
mod pages;
mod patch;
mod proxies;
mod rooms;
mod row;
mod script;
mod server;
mod whep;
mod whip;
