//! Certificate authorities: one row each; the hub's [`AuthorityChange`] decides every change.

use async_trait::async_trait;
use fanfare_hub::{
    authorities::{Authority, AuthorityChange, AuthorityName, AuthorityRefused},
    ids::Etag,
    ports::{
        authorities::{AuthorityList, AuthorityStore},
        store::StoreError,
    },
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Embedded,
    core::{Writer, next_number, unavailable},
    shell::Lane,
};
use crate::record::corrupt;

#[async_trait]
impl AuthorityStore for Embedded {
    async fn authority_list(&self) -> Result<AuthorityList, StoreError> {
        self.shell.read(read_list).await
    }

    async fn authority_change(
        &self,
        change: AuthorityChange,
        at: Timestamp,
    ) -> Result<Result<AuthorityList, AuthorityRefused>, StoreError> {
        let work = move |writer: &mut Writer<'_>| {
            let before = read_list(writer.db)?;
            let next = Etag(before.revision + 1);
            let after = match change.apply(&before.authorities, next, at) {
                Ok(after) => after,
                Err(refused) => return Ok(Err(refused)),
            };
            next_number(writer.db, COUNTER).map_err(unavailable)?;
            match after {
                Some(authority) => put(writer.db, &authority)?,
                None => delete(writer.db, &change.name)?,
            }
            read_list(writer.db).map(Ok)
        };
        self.shell.write(Lane::Interactive, 1, work).await
    }
}

/// The row of table `hub` that counts changes of authorities; their etags are drawn from it.
const COUNTER: &str = "authority";
const REVISION: &str = "SELECT value FROM hub WHERE name = ?1";
const SELECT: &str = "SELECT name, certificate, verified, code, created, updated, etag
     FROM authority ORDER BY name";
const PUT: &str = "INSERT OR REPLACE INTO authority
     (name, certificate, verified, code, created, updated, etag)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

fn read_list(db: &Connection) -> Result<AuthorityList, StoreError> {
    let revision = db
        .query_row(REVISION, [COUNTER], |row| row.get(0))
        .optional()
        .map_err(unavailable)?;
    let mut select = db.prepare_cached(SELECT).map_err(unavailable)?;
    let mut rows = select.query([]).map_err(unavailable)?;
    let mut authorities = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        authorities.push(read(row)?);
    }
    Ok(AuthorityList {
        revision: revision.unwrap_or(0),
        authorities: authorities.into(),
    })
}

fn read(row: &Row<'_>) -> Result<Authority, StoreError> {
    let name: String = row.get(0).map_err(unavailable)?;
    let certificate: Vec<u8> = row.get(1).map_err(unavailable)?;
    let code: Option<String> = row.get(3).map_err(unavailable)?;
    let at = |column| row.get(column).map(Timestamp).map_err(unavailable);
    Ok(Authority {
        name: AuthorityName::parse(&name)
            .map_err(|_| corrupt("an authority", "has a name that is none"))?,
        certificate: certificate.into(),
        is_verified: row.get(2).map_err(unavailable)?,
        code: code.map(Into::into),
        created: at(4)?,
        updated: at(5)?,
        etag: Etag(row.get(6).map_err(unavailable)?),
    })
}

fn put(db: &Connection, authority: &Authority) -> Result<(), StoreError> {
    let columns = params![
        authority.name.as_str(),
        &*authority.certificate,
        authority.is_verified,
        authority.code.as_deref(),
        authority.created.0,
        authority.updated.0,
        authority.etag.0,
    ];
    let mut put = db.prepare_cached(PUT).map_err(unavailable)?;
    put.execute(columns).map_err(unavailable)?;
    Ok(())
}

fn delete(db: &Connection, name: &AuthorityName) -> Result<(), StoreError> {
    db.execute("DELETE FROM authority WHERE name = ?1", [name.as_str()])
        .map_err(unavailable)?;
    Ok(())
}
