// What the SDKs offer: every public method of their classes, found by looking, so that a method that a new
// version brings is missed by nobody. `run.js` writes it beside the results; `cargo xtask surface` compares.
'use strict';

const device = require('azure-iot-device');
const service = require('azure-iothub');
const { Query } = require('azure-iothub/dist/query.js');

// Shared by every emitter, and no part of what an SDK promises.
const COMMON = new Set([
  ...Object.getOwnPropertyNames(Object.prototype),
  ...Object.getOwnPropertyNames(require('node:events').prototype),
]);

/** Public method names, static ones first, inherited ones included; what starts with `_` is private. */
function methodsOf(type) {
  const own = Object.getOwnPropertyNames(type).filter((name) => typeof type[name] === 'function');
  const names = new Set(own);
  for (let at = type.prototype; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) if (!COMMON.has(name)) names.add(name);
  }
  return [...names].filter((name) => !name.startsWith('_'));
}

/** `{package: {class: [method, ...]}}`; device classes are `device.X`, since some names are in both packages. */
function surface() {
  const { Client, DigitalTwinClient, JobClient, Registry, Twin } = service;
  const classes = (types) => Object.fromEntries(Object.entries(types).map(([name, type]) => [name, methodsOf(type)]));
  return {
    'azure-iothub': classes({ JobClient, Registry, Twin, Query, Client, DigitalTwinClient }),
    'azure-iot-device': classes({
      'device.Client': device.Client,
      'device.ModuleClient': device.ModuleClient,
      'device.Twin': device.Twin,
    }),
  };
}

module.exports = { surface };
