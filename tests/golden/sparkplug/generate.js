// Sparkplug B messages by npm sparkplug-payload: one line each, topic and payload in hex.
//
//     npm install sparkplug-payload@1.0.3 && node generate.js > javascript.txt
const sparkplug = require("sparkplug-payload").get("spBv1.0");

const AT = 1767323045678;
const say = (topic, payload) => console.log(topic, Buffer.from(sparkplug.encodePayload(payload)).toString("hex"));
const metric = (name, alias, type, value, more) => ({ name, alias, type, value, timestamp: AT, ...more });

say("spBv1.0/plant/NBIRTH/gate", { timestamp: AT, seq: 0, metrics: [
    { name: "bdSeq", type: "UInt64", value: 7, timestamp: AT },
    { name: "Node Control/Rebirth", type: "Boolean", value: false, timestamp: AT },
    metric("int8", 1, "Int8", -5), metric("int16", 2, "Int16", -300), metric("int32", 3, "Int32", -70000),
    metric("int64", 4, "Int64", -5000000000), metric("uint8", 5, "UInt8", 200), metric("uint16", 6, "UInt16", 60000),
    metric("uint32", 7, "UInt32", 4000000000), metric("uint64", 8, "UInt64", 9000000000), metric("float", 9, "Float", 1.5),
    metric("double", 10, "Double", 21.7), metric("bool", 11, "Boolean", true), metric("text", 12, "String", "größe"),
    metric("moment", 13, "DateTime", AT), metric("uuid", 14, "UUID", "6e8bc430-9c3a-11d9-9669-0800200c9a66"),
    metric("bytes", 15, "Bytes", new Uint8Array([1, 2, 253])),
    { name: "nothing", alias: 16, type: "Double", value: null, isNull: true, timestamp: AT },
    { name: "set", type: "DataSet", timestamp: AT, value: {
        numOfColumns: 2, types: ["String", "Double"], columns: ["name", "limit"], rows: [["low", 1.5], ["high", 9.25]] } },
    { name: "pump", type: "Template", timestamp: AT, value: {
        version: "1", templateRef: "Pump", isDefinition: false,
        metrics: [{ name: "speed", type: "Int32", value: -12 }, { name: "on", type: "Boolean", value: true }], parameters: [] } },
] });
say("spBv1.0/plant/NDATA/gate", { timestamp: AT + 1000, seq: 1, metrics: [
    { alias: 3, type: "Int32", value: -70001, timestamp: AT + 1000 }, { alias: 10, type: "Double", value: 21.8, timestamp: AT + 1000 },
] });
say("spBv1.0/plant/DBIRTH/gate/boiler", { timestamp: AT, seq: 2, metrics: [metric("temp", 100, "Double", 60.5)] });
say("spBv1.0/plant/DDATA/gate/boiler", { timestamp: AT + 2000, seq: 3, metrics: [
    { alias: 100, type: "Double", value: 59.5, timestamp: AT - 60000, isHistorical: true },
    { alias: 100, type: "Double", value: 61.5 },
] });
say("spBv1.0/plant/DDEATH/gate/boiler", { timestamp: AT + 3000, seq: 4, metrics: [] });
say("spBv1.0/plant/NDEATH/gate", { timestamp: AT - 1, metrics: [{ name: "bdSeq", type: "UInt64", value: 7 }] });
