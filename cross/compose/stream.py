"""The emulated stream of ../compose.yaml: `create` makes it, `read` prints its records, in base64, a line each."""

import base64
import os
import sys

import boto3

STREAM = "telemetry"
kinesis = boto3.client("kinesis", endpoint_url=os.environ["ENDPOINT"])


def create():
    try:
        kinesis.create_stream(StreamName=STREAM, ShardCount=1)
    except kinesis.exceptions.ResourceInUseException:
        print("it is there")


def read():
    for shard in kinesis.list_shards(StreamName=STREAM)["Shards"]:
        at = kinesis.get_shard_iterator(
            StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            answer = kinesis.get_records(ShardIterator=at)
            for record in answer["Records"]:
                print(base64.b64encode(record["Data"]).decode())
            at = answer.get("NextShardIterator")
            if not at or not answer["MillisBehindLatest"]:
                break


{"create": create, "read": read}[sys.argv[1]]()
