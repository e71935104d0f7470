"use strict";

module.exports = require("./build/Release/greeting.node");
