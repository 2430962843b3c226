"""Sparkplug B messages by PyPI pysparkplug: one line each, topic and payload in hex.

    pip install pysparkplug==0.6.1 && python generate.py > python.txt
"""

from datetime import datetime, timezone

from pysparkplug import DBirth, DData, DDeath, DataType, Metric, NBirth, NData, NDeath

AT = 1767323045678


def say(topic, payload, **options):
    print(topic, payload.encode(**options).hex())


def metric(name, alias, datatype, value, at=AT, **more):
    return Metric(timestamp=at, name=name, datatype=datatype, alias=alias, value=value, **more)


say("spBv1.0/plant/NBIRTH/gate", NBirth(timestamp=AT, seq=0, metrics=[
    metric("bdSeq", None, DataType.UINT64, 7),
    metric("Node Control/Rebirth", None, DataType.BOOLEAN, False),
    metric("int8", 1, DataType.INT8, -5), metric("int16", 2, DataType.INT16, -300),
    metric("int32", 3, DataType.INT32, -70000), metric("int64", 4, DataType.INT64, -5000000000),
    metric("uint8", 5, DataType.UINT8, 200), metric("uint16", 6, DataType.UINT16, 60000),
    metric("uint32", 7, DataType.UINT32, 4000000000), metric("uint64", 8, DataType.UINT64, 9000000000),
    metric("float", 9, DataType.FLOAT, 1.5), metric("double", 10, DataType.DOUBLE, 21.7),
    metric("bool", 11, DataType.BOOLEAN, True), metric("text", 12, DataType.STRING, "größe"),
    metric("moment", 13, DataType.DATETIME, datetime.fromtimestamp(AT / 1000, timezone.utc)),
    metric("uuid", 14, DataType.UUID, "6e8bc430-9c3a-11d9-9669-0800200c9a66"),
    metric("bytes", 15, DataType.BYTES, bytes([1, 2, 253])),
    metric("nothing", 16, DataType.DOUBLE, None, is_null=True),
    metric("int8s", None, DataType.INT8_ARRAY, (-1, 2)), metric("int16s", None, DataType.INT16_ARRAY, (-300, 2)),
    metric("uint32s", None, DataType.UINT32_ARRAY, (4000000000, 1)),
    metric("int64s", None, DataType.INT64_ARRAY, (-5000000000, 2)),
    metric("floats", None, DataType.FLOAT_ARRAY, (1.5, -2.25)), metric("doubles", None, DataType.DOUBLE_ARRAY, (21.7, 0.5)),
    metric("bools", None, DataType.BOOLEAN_ARRAY, (True, False, True, True, False, False, False, False, True)),
    metric("texts", None, DataType.STRING_ARRAY, ("a", "ü")),
]), include_dtypes=True)
# Without names and datatypes, as a node that was born may send them.
say("spBv1.0/plant/NDATA/gate", NData(timestamp=AT + 1000, seq=1, metrics=[
    metric(None, 3, DataType.INT32, -70001, AT + 1000), metric(None, 10, DataType.DOUBLE, 21.8, AT + 1000),
]))
say("spBv1.0/plant/DBIRTH/gate/boiler", DBirth(timestamp=AT, seq=2, metrics=[
    metric("temp", 100, DataType.DOUBLE, 60.5),
]), include_dtypes=True)
say("spBv1.0/plant/DDATA/gate/boiler", DData(timestamp=AT + 2000, seq=3, metrics=[
    metric(None, 100, DataType.DOUBLE, 59.5, AT - 60000, is_historical=True),
    metric(None, 100, DataType.DOUBLE, 61.5, None),
]))
say("spBv1.0/plant/DDEATH/gate/boiler", DDeath(timestamp=AT + 3000, seq=4))
say("spBv1.0/plant/NDEATH/gate", NDeath(timestamp=AT - 1, bd_seq_metric=metric("bdSeq", None, DataType.UINT64, 7)))
