"""Meters by pymodbus: `meters.py rtu PORT` or `meters.py tcp PORT`.

Unit 1 has 300 holding registers, of which register n holds (n * 257 + 3) mod 65536, and 40 coils, of which every third
is on. Unit 2 has ten holding registers, 100 to 109, and refuses all other addresses.
"""

import asyncio
import sys

from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer


def block(first, values):
    # A block counts from one.
    return ModbusSequentialDataBlock(first + 1, values)


def meters():
    first = ModbusDeviceContext(
        hr=block(0, [(n * 257 + 3) % 65536 for n in range(300)]),
        co=block(0, [n % 3 == 0 for n in range(40)]),
    )
    second = ModbusDeviceContext(hr=block(100, list(range(10))))
    return ModbusServerContext(devices={1: first, 2: second}, single=False)


async def main(transport, port):
    if transport == "rtu":
        await StartAsyncSerialServer(meters(), port=port, baudrate=115200, timeout=0.01)
    else:
        await StartAsyncTcpServer(meters(), address=("127.0.0.1", int(port)))


asyncio.run(main(*sys.argv[1:]))
