// Evaluates recorded expressions with the reference implementation of JSONata.
//
// usage: node evaluate_reference.cjs <directory of node_modules> < evaluations.jsonl
//
// Reads the lines that recording_ministack.py writes and prints, for each, {"value": ...} or
// {"error": ...}. An expression without a result is an error, as it is for Step Functions, of whose
// own functions $parse is the only one that the definitions use.
'use strict';

const path = require('node:path');
const readline = require('node:readline');
const jsonata = require(path.resolve(process.argv[2], 'jsonata'));

async function evaluate(recorded) {
  const expression = jsonata(recorded.expression);
  expression.registerFunction('millis', () => recorded.millis);
  expression.registerFunction('parse', (text) => JSON.parse(text), '<s:j>');
  const value = await expression.evaluate(undefined, { ...recorded.variables, states: recorded.states });
  if (value === undefined) throw new Error('no result');
  return value;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = { value: await evaluate(JSON.parse(line)) };
    } catch (error) {
      answer = { error: String(error.message ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
}

main();
