// Calls `JobClient.getJob`, so many at once, and says what it cost this process, as one line of JSON:
// `FANFARE_CONNECTION_STRING=... NODE_EXTRA_CA_CERTS=.../ca.pem node bench_get_job.js JOB CALLS WARM_UP IN_FLIGHT`.
// The warm-up (connection, compiled code) is not counted. Node's default agent keeps the connection; the SDK's
// JobClient sets none of its own.
'use strict';

const { JobClient } = require('azure-iothub');

async function main() {
  const jobId = process.argv[2];
  const [calls, warmUp, inFlight] = process.argv.slice(3).map(Number);
  const client = JobClient.fromConnectionString(process.env.FANFARE_CONNECTION_STRING);
  const call = async (times) => {
    let left = times;
    const oneAfterAnother = async () => {
      while (left-- > 0) {
        const { jobStatus } = await client.getJob(jobId);
        if (jobStatus.jobId !== jobId) throw new Error(`asked for ${jobId}, got ${JSON.stringify(jobStatus)}`);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, oneAfterAnother));
  };
  await call(warmUp);
  const [began, cpuBefore] = [process.hrtime.bigint(), process.cpuUsage()];
  await call(calls);
  const cpu = process.cpuUsage(cpuBefore);
  const cost = {
    calls,
    seconds: Number(process.hrtime.bigint() - began) / 1e9,
    cpu_seconds: (cpu.user + cpu.system) / 1e6,
    resident_kib: Math.round(process.memoryUsage().rss / 1024),
  };
  process.stdout.write(`${JSON.stringify(cost)}\n`);
}

// A token timer of the SDK would hold the process.
main().then(() => process.exit(0), (error) => {
  process.stderr.write(`${error.stack ?? error}\n`);
  process.exit(1);
});
