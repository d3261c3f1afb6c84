"""HCCL rank tables: the JSON file that tells Ascend devices which of them train together. Makes and checks them.

    python -m src.launch.rank_tables make --devices 0-7 --output rank_table.json
    python -m src.launch.rank_tables make --server 10.0.0.1:0-7:IP,IP,… --server 10.0.0.2:0-7:IP,IP,… --output two.json
    python -m src.launch.rank_tables check rank_table.json

Format 1.0; every number is text:
{"version": "1.0", "server_count": "1", "server_list": [{"server_id": "10.0.0.1", "device": [{"device_id": "0",
"device_ip": "192.98.92.1", "rank_id": "0"}, …], "host_nic_ip": "reserve"}], "status": "completed"}
"""
import argparse
import ipaddress
import json
import os
import re
import socket
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..system.command_line import run_command
from ..system.errors import PoseError
from ..system.files import open_regular, parse_json, write_bytes
from ..system.printing import ArgumentParser, brief, kind_of, printable

HCCN_CONF = '/etc/hccn.conf'
USUAL_DEVICE_COUNTS = (1, 2, 4, 8)
_NUMBER = re.compile(r'0|[1-9][0-9]{0,8}')


class Server(NamedTuple):
    """One server of a table: its address, its devices, and their addresses on the device network (None: unknown)."""

    server_id: str
    device_ids: Tuple[int, ...]
    device_ips: Tuple[Optional[str], ...]


def make_rank_table(servers: Sequence[Server]) -> dict:
    """Return the table of these servers; ranks count up from 0 in the order given.

    Raises:
        PoseError: the table would not pass `check_rank_table`.
    """
    server_list: List[Dict[str, Any]] = []
    rank = 0
    for server in servers:
        if len(server.device_ids) != len(server.device_ips):
            raise PoseError(f'{server.server_id} has {len(server.device_ids)} devices, but {len(server.device_ips)} '
                            'device IPs; give one for every device, in the same order')
        devices = []
        for device_id, device_ip in zip(server.device_ids, server.device_ips):
            device = {'device_id': str(device_id)}
            if device_ip is not None:
                device['device_ip'] = device_ip
            device['rank_id'] = str(rank)
            devices.append(device)
            rank += 1
        server_list.append({'server_id': server.server_id, 'device': devices, 'host_nic_ip': 'reserve'})
    table = {'version': '1.0', 'server_count': str(len(server_list)), 'server_list': server_list, 'status': 'completed'}
    check_rank_table(table, 'the new table')
    return table


def check_rank_table(table: Any, where: str, device_num: Optional[int] = None) -> List[str]:
    """Check a table and return notes on what is unusual in it, one line each.

    Args:
        table: content of the JSON file.
        where: the file, for messages.
        device_num: how many devices each server should have; None: any number.

    Raises:
        PoseError: the table is wrong; the message says where, what is there and what is expected.
    """
    if not isinstance(table, dict):
        raise PoseError(f'{where}: should be an object with version, server_count, server_list and status, is '
                        f'{kind_of(table)}')
    for key, wanted in (('version', '1.0'), ('status', 'completed')):
        if table.get(key) != wanted:
            raise PoseError(f'{where}: {key} should be "{wanted}", {_found(table, key)}')
    servers = _read_list(table, 'server_list', where)
    if table.get('server_count') != str(len(servers)):
        raise PoseError(f'{where}: server_count should be "{len(servers)}", the length of server_list, '
                        f'{_found(table, "server_count")}')
    owners: Dict[str, Dict[str, str]] = {'server_id': {}, 'device_ip': {}, 'rank_id': {}}
    for number, server in enumerate(servers):
        _check_server(server, f'{where}: server {number}', owners, needs_ips=len(servers) > 1)
    _check_ranks(owners['rank_id'], where)
    counts = [len(server['device']) for server in servers]
    for number, count in enumerate(counts):
        if device_num is not None and count != device_num:
            raise PoseError(f'{where}: server {number} ({servers[number]["server_id"]}) has {_devices(count)}, '
                            f'but {device_num} should take part')
    notes = []
    if len(set(counts)) > 1:
        notes.append(f'the servers have different numbers of devices: {", ".join(map(str, counts))}')
    for count in sorted(set(counts) - set(USUAL_DEVICE_COUNTS)):
        notes.append(f'{_devices(count)} on a server; usual are {", ".join(map(str, USUAL_DEVICE_COUNTS))}')
    without_ip = sum('device_ip' not in device for server in servers for device in server['device'])
    if without_ip:
        notes.append(f'{without_ip} of {_devices(sum(counts))} without device_ip, which only a single server may leave '
                     'out')
    return notes


def load_rank_table(path: str, device_num: Optional[int] = None) -> dict:
    """Read and check a table; `device_num` as in `check_rank_table`.

    Raises:
        PoseError: the file is missing, is not JSON or holds a wrong table; the message begins with its path.
    """
    try:
        with open_regular(path, 'r', encoding='utf-8') as file:
            table = parse_json(file.read())
    except OSError as error:
        raise PoseError(f'{path}: cannot be read: {error.strerror or error}') from None
    except ValueError as error:
        raise PoseError(f'{path}: is not a JSON file: {error}') from None
    check_rank_table(table, path, device_num)
    return table


def read_device_ips(path: str) -> Dict[int, str]:
    """Return {device_id: IP} of a driver configuration (/etc/hccn.conf, lines such as address_0=192.98.92.100).

    A missing file gives an empty dict: only Ascend servers have it.

    Raises:
        PoseError: an address is invalid; the message names the file and the line.
    """
    if not os.path.isfile(path):
        return {}
    device_ips = {}
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            for line in file:
                match = re.fullmatch(r'\s*address_([0-9]{1,9})\s*=\s*(.*?)\s*', line)
                if match:
                    if not _is_ip(match[2]):
                        raise PoseError(f'{path}: {line.strip()!r} should be an address such as address_0=192.98.92.1')
                    device_ips[int(match[1])] = match[2]
    except OSError as error:
        raise PoseError(f'{path}: cannot be read: {error.strerror or error}') from None
    return device_ips


def parse_devices(text: str) -> Tuple[int, ...]:
    """Return the device ids of text such as 0-7, 0,1 or 0-3,6.

    Raises:
        PoseError: the text has another form.
    """
    device_ids: List[int] = []
    for part in text.split(','):
        match = re.fullmatch(r'([0-9]{1,3})(?:-([0-9]{1,3}))?', part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise PoseError(f'devices {text!r} should be such as 0-7 or 0,1,4')
        device_ids.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(device_ids)


def parse_server(text: str) -> Server:
    """Return the server of text such as 10.0.0.1:0-7:192.98.92.1,192.98.93.1,…

    Raises:
        PoseError: the text has another form.
    """
    parts = text.split(':')
    if len(parts) not in (2, 3):
        raise PoseError(f'server {text!r} should be IP:DEVICES or IP:DEVICES:IP,IP,… such as 10.0.0.1:0-1:192.98.92.1,'
                        '192.98.93.1')
    device_ids = parse_devices(parts[1])
    device_ips = tuple(parts[2].split(',')) if len(parts) == 3 else (None,) * len(device_ids)
    return Server(parts[0], device_ids, device_ips)


def _found(entry: dict, key: str) -> str:
    return f'is {_quoted(entry[key])}' if key in entry else 'is missing'


def _quoted(value: Any) -> str:
    try:
        return json.dumps(value)[:300]
    except (RecursionError, ValueError):
        return brief(value)


def _devices(count: int) -> str:
    return f'{count} device{"" if count == 1 else "s"}'


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _read_list(entry: dict, key: str, where: str) -> list:
    if not isinstance(entry.get(key), list) or not entry[key]:
        raise PoseError(f'{where}: {key} should be a list with at least one entry, {_found(entry, key)}')
    return entry[key]


def _check_server(server: Any, where: str, owners: Dict[str, Dict[str, str]], *, needs_ips: bool) -> None:
    """Check one entry of server_list, and record its server_id, device_ips and rank_ids in `owners`."""
    if not isinstance(server, dict):
        raise PoseError(f'{where}: should be an object with server_id and device, is {_quoted(server)}')
    server_id = server.get('server_id')
    # HCCL accepts any name, but a text of digits and dots should be a valid address.
    if not isinstance(server_id, str) or not server_id or (
            re.fullmatch(r'[0-9.]+', server_id) and not _is_ip(server_id)):
        raise PoseError(f'{where}: server_id should be the IP of the server such as "10.0.0.1", '
                        f'{_found(server, "server_id")}')
    _claim(owners['server_id'], 'server_id', server_id, where)
    device_owners: Dict[str, str] = {}
    for number, device in enumerate(_read_list(server, 'device', where)):
        place = f'{where}, device {number}'
        if not isinstance(device, dict):
            raise PoseError(f'{place}: should be an object with device_id, device_ip and rank_id, is '
                            f'{_quoted(device)}')
        for key in ('device_id', 'rank_id'):
            if not isinstance(device.get(key), str) or not _NUMBER.fullmatch(device[key]):
                raise PoseError(f'{place}: {key} should be a number as text such as "0", {_found(device, key)}')
        _claim(device_owners, 'device_id', device['device_id'], place)
        _claim(owners['rank_id'], 'rank_id', device['rank_id'], place)
        if 'device_ip' in device:
            if not isinstance(device['device_ip'], str) or not _is_ip(device['device_ip']):
                raise PoseError(f'{place}: device_ip should be an IP such as "192.98.92.1", '
                                f'{_found(device, "device_ip")}')
            _claim(owners['device_ip'], 'device_ip', device['device_ip'], place)
        elif needs_ips:
            raise PoseError(f'{place}: device_ip is missing; with several servers every device needs it (address_'
                            f'{device["device_id"]} in {HCCN_CONF} of that server)')


def _claim(owners: Dict[str, str], key: str, value: str, place: str) -> None:
    if value in owners:
        raise PoseError(f'{place}: {key} "{value}" is taken: {owners[value].rpartition(": ")[2]} has it; each should '
                        'occur once')
    owners[value] = place


def _check_ranks(owners: Dict[str, str], where: str) -> None:
    missing = [rank for rank in range(len(owners)) if str(rank) not in owners]
    if missing:
        extra = max(owners, key=int)
        raise PoseError(f'{where}: the rank ids of {_devices(len(owners))} should be 0 to {len(owners) - 1}, but '
                        f'{missing[0]} is missing and {extra} is there ({owners[extra].rpartition(": ")[2]})')


def describe_rank_table(path: str, table: dict) -> List[str]:
    """Return lines that summarize a valid table, and notes on what is unusual in it."""
    return [_summarize(path, table), *(f'note: {note}' for note in check_rank_table(table, path))]


def _summarize(path: str, table: dict) -> str:
    servers = table['server_list']
    count = sum(len(server['device']) for server in servers)
    ranks = f'ranks 0 to {count - 1}' if count > 1 else 'rank 0'
    return f'{path}: {len(servers)} server{"" if len(servers) == 1 else "s"}, {_devices(count)}, {ranks}'


def _own_ip() -> str:
    """Return the address of this machine that other machines see; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('10.255.255.255', 1))
            return probe.getsockname()[0]
        except OSError:
            return '127.0.0.1'


def _read_servers(arguments: argparse.Namespace) -> Tuple[List[Server], List[str]]:
    """Return the servers to make a table of, and notes."""
    if bool(arguments.devices) == bool(arguments.server):
        raise PoseError('give either --devices (this server) or --server IP:DEVICES:IP,IP,… (once per server)')
    if arguments.server:
        if arguments.server_ip or arguments.device_ips:
            raise PoseError('--server_ip and --device_ips belong to --devices; a --server carries its own')
        return [parse_server(text) for text in arguments.server], []
    device_ids = parse_devices(arguments.devices)
    notes = []
    if arguments.device_ips:
        device_ips: Tuple[Optional[str], ...] = tuple(arguments.device_ips.split(','))
    else:
        known = read_device_ips(arguments.hccn_conf)
        device_ips = tuple(known.get(device_id) for device_id in device_ids)
        if None in device_ips:
            why = 'has no address for some' if known else 'is not there'
            notes.append(f'device IPs are left out, since {arguments.hccn_conf} {why} (choose with --device_ips)')
            # All or none: a table with some device IPs would be confusing.
            device_ips = (None,) * len(device_ids)
    return [Server(arguments.server_ip or _own_ip(), device_ids, device_ips)], notes


def _parse_arguments(words: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = ArgumentParser(prog='python -m src.launch.rank_tables', description=__doc__.splitlines()[0],
                                     allow_abbrev=False)
    commands = parser.add_subparsers(dest='command', required=True)
    make = commands.add_parser('make', help='write a table', allow_abbrev=False)
    make.add_argument('--devices', help='devices of this server, such as 0-7 or 0,1,4')
    make.add_argument('--server_ip', help="this server's address (default: found out)")
    make.add_argument('--device_ips', help='addresses of the devices, with commas (default: those of --hccn_conf)')
    make.add_argument('--hccn_conf', default=HCCN_CONF, help='file of the driver with device addresses (%(default)s)')
    make.add_argument('--server', action='append', metavar='IP:DEVICES[:IP,IP,…]',
                      help='one of several servers with its devices and their addresses; repeat it, in rank order')
    make.add_argument('--output', required=True, help='file to write')
    check = commands.add_parser('check', help='check a table', allow_abbrev=False)
    check.add_argument('path', metavar='FILE')
    check.add_argument('--device_num', type=int, help='number of devices that each server should have')
    return parser.parse_args(words)


def main(words: Optional[Sequence[str]] = None) -> None:
    """Run the command line; an error ends it with one line and status 2."""
    arguments = _parse_arguments(words)
    try:
        if arguments.command == 'make':
            path = arguments.output
            servers, notes = _read_servers(arguments)
            table = make_rank_table(servers)
            write_bytes(path, (json.dumps(table, indent=2) + '\n').encode('utf-8'))
            lines = [_summarize(path, table), *(f'note: {note}' for note in notes)]
        else:
            path = arguments.path
            lines = describe_rank_table(path, load_rank_table(path, arguments.device_num))
    except (PoseError, OSError) as error:
        print('error: ' + printable(' '.join(str(error).split()), sys.stderr), file=sys.stderr)
        sys.exit(2)
    for line in lines:
        print(printable(line, sys.stdout))


if __name__ == '__main__':
    run_command(main)
