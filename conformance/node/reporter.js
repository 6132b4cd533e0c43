// One line per finished test, the whole error below a failed one: what `run.js` copies into its summary.
'use strict';

const { inspect } = require('node:util');

module.exports = async function* lines(source) {
  for await (const event of source) {
    const { name, details, nesting } = event.data;
    if (event.type === 'test:pass' && details.type !== 'suite') {
      yield `ok   ${name} (${Math.round(details.duration_ms)} ms)\n`;
    } else if (event.type === 'test:fail') {
      // A suite that failed because a test in it failed has nothing of its own to say.
      if (details.error.failureType === 'subtestsFailed') continue;
      const cause = details.error.cause ?? details.error;
      yield `FAIL ${name}${nesting ? '' : ' (whole file)'}\n${indent(describe(cause))}\n`;
    }
  }
};

function describe(cause) {
  if (!(cause instanceof Error)) return inspect(cause, { depth: 6 });
  // The SDKs hang the whole HTTP response on their errors: its body is what a reader needs.
  const body = cause.responseBody ? `\nresponse ${cause.response?.statusCode}: ${cause.responseBody}` : '';
  const stack = (cause.stack ?? String(cause)).split('\n').filter((line) => !/\(?node:|node_modules/.test(line)).join('\n');
  return `${stack}${body}`;
}

function indent(text) {
  return text.replace(/^/gm, '     ');
}
