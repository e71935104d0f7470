"use strict";

const { greeting } = require("example-greeting");

console.log(greeting(process.argv[2] ?? "world"));
