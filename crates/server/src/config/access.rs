//! The settings that switch tokens off which the hub's own keys sign.

use super::Checked;
use crate::auth::LocalAuth;

impl Checked<'_> {
    /// Which of them count. Somebody must be able to call the hub: without policies it takes an issuer.
    pub(super) fn local_auth(&mut self, has_issuer: bool) -> LocalAuth {
        let mut is_on = |key: &str| !self.switch(key).unwrap_or(false);
        let local = LocalAuth {
            policies: is_on("disable-local-auth"),
            devices: is_on("disable-device-sas"),
            modules: is_on("disable-module-sas"),
        };
        if !local.policies && !has_issuer {
            let problem =
                "would leave nobody who may call the hub: no issuer of tokens is configured";
            self.fault("disable-local-auth", problem);
        }
        local
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Flags};
    use crate::auth::LocalAuth;

    #[test]
    fn each_switch_turns_one_kind_of_tokens_off() {
        let on = LocalAuth::default();
        let of = |flags| Config::from_layers(flags, []).map(|config| config.local_auth);
        assert_eq!(of(Flags::default()), Ok(on));
        let device = Flags {
            disable_device_sas: true,
            ..Flags::default()
        };
        let devices = LocalAuth {
            devices: false,
            ..on
        };
        assert_eq!(of(device), Ok(devices));
        let module = Flags {
            disable_module_sas: true,
            ..Flags::default()
        };
        let modules = LocalAuth {
            modules: false,
            ..on
        };
        assert_eq!(of(module), Ok(modules));
        let nobody = Flags {
            disable_local_auth: true,
            ..Flags::default()
        };
        let refused = of(nobody).unwrap_err();
        assert!(refused.faults[0].starts_with("disable-local-auth would leave nobody"));
        let odd = [("FANFARE_DISABLE_DEVICE_SAS".to_owned(), "maybe".to_owned())];
        let refused = Config::from_layers(Flags::default(), odd).unwrap_err();
        let fault = &refused.faults[0];
        assert!(
            fault.starts_with("disable-device-sas must be true or false"),
            "{fault}"
        );
    }
}
