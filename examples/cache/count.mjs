// Counts the results of http-cache-tests, in whose folder it is run, and lists what is required or optimal and did not
// pass. Tests of `Surrogate-Control`, which only the suite's command line adds, are left out as on cache-tests.fyi.
import fs from 'node:fs'

const suites = (await import(`${process.cwd()}/tests/index.mjs`)).default
const results = JSON.parse(fs.readFileSync(process.argv[2]))
const tests = new Map(suites.flatMap(suite => suite.tests.map(test => [test.id, test])))

// As the suite's own page judges: what depends on a test that did not pass says nothing.
function judge (id) {
  const result = results[id]
  if ((tests.get(id).depends_on || []).some(other => judge(other) !== 'passed')) return 'depends'
  if (result === true) return 'passed'
  return result[0] === 'Setup' ? 'setup' : 'failed'
}

for (const kind of ['required', 'optimal']) {
  const ids = [...tests.keys()].filter(id => (tests.get(id).kind || 'required') === kind && id in results)
  for (const id of ids.filter(id => results[id] !== true)) {
    console.log(`${kind}  ${judge(id).padEnd(7)}  ${id}: ${results[id][1]}`)
  }
  console.log(`${kind}: ${ids.filter(id => results[id] === true).length} of ${ids.length}\n`)
}
