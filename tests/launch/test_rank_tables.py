"""Rank tables: what is made passes the check, and the check names every mistake with its place."""
import copy
import json
import re
import subprocess
import sys

import pytest
from script_runs import ROOT

from src.launch.rank_tables import (
    Server,
    check_rank_table,
    load_rank_table,
    main,
    make_rank_table,
    parse_devices,
    parse_server,
    read_device_ips,
)

TWO_SERVERS = make_rank_table([
    Server('10.0.0.1', (0, 1), ('192.98.92.1', '192.98.93.1')),
    Server('10.0.0.2', (4, 5), ('192.98.92.2', '192.98.93.2'))])


def call(capsys, *words):
    """Return (status, stdout, stderr) of the command line."""
    status = 0
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        status = end.code
    return (status, *capsys.readouterr())


# Making

def test_table_of_one_server_has_the_documented_form():
    table = make_rank_table([Server('10.0.0.1', (0, 3), ('192.98.92.1', '192.98.93.1'))])
    assert table == {
        'version': '1.0', 'server_count': '1', 'server_list': [{
            'server_id': '10.0.0.1', 'device': [{'device_id': '0', 'device_ip': '192.98.92.1', 'rank_id': '0'},
                                                {'device_id': '3', 'device_ip': '192.98.93.1', 'rank_id': '1'}],
            'host_nic_ip': 'reserve'}],
        'status': 'completed'}


def test_ranks_count_on_from_server_to_server():
    ranks = [[(device['device_id'], device['rank_id']) for device in server['device']]
             for server in TWO_SERVERS['server_list']]
    assert ranks == [[('0', '0'), ('1', '1')], [('4', '2'), ('5', '3')]]
    assert TWO_SERVERS['server_count'] == '2'


@pytest.mark.parametrize('text, wanted', [
    ('0-7', tuple(range(8))), ('0', (0,)), ('4,1', (4, 1)), ('0-1,6-7', (0, 1, 6, 7))])
def test_devices_may_be_listed_or_given_as_a_range(text, wanted):
    assert parse_devices(text) == wanted


@pytest.mark.parametrize('text', ['', '0-', '7-0', 'a', '0,,1', '-1', '0 1'])
def test_wrong_device_lists_are_named(text):
    with pytest.raises(ValueError, match='should be such as 0-7'):
        parse_devices(text)


def test_server_text():
    assert parse_server('10.0.0.1:0-1:192.98.92.1,192.98.93.1') == Server('10.0.0.1', (0, 1),
                                                                         ('192.98.92.1', '192.98.93.1'))
    assert parse_server('10.0.0.1:0-1') == Server('10.0.0.1', (0, 1), (None, None))


def test_made_file_is_readable_and_passes_the_check(tmp_path, capsys):
    path = tmp_path / 'table.json'
    status, out, _ = call(capsys, 'make', '--server', '10.0.0.1:0-1:192.98.92.1,192.98.93.1', '--server',
                          '10.0.0.2:4,5:192.98.92.2,192.98.93.2', '--output', path)
    assert (status, out) == (0, f'{path}: 2 servers, 4 devices, ranks 0 to 3\n')
    assert load_rank_table(str(path), 2) == TWO_SERVERS
    assert len(path.read_text().splitlines()) > 20
    assert [each.name for each in tmp_path.iterdir()] == ['table.json']


def test_device_ips_come_from_the_drivers_file(tmp_path, capsys):
    conf = tmp_path / 'hccn.conf'
    conf.write_text('# driver\naddress_0=192.98.92.100\nnetmask_0=255.255.255.0\n address_1 = 192.98.93.100 \n')
    assert read_device_ips(str(conf)) == {0: '192.98.92.100', 1: '192.98.93.100'}
    words = ['make', '--server_ip', '10.0.0.1', '--hccn_conf', conf, '--output', tmp_path / 'table.json']
    status, out, _ = call(capsys, *words, '--devices', '1,0')
    assert status == 0 and 'note' not in out
    devices = load_rank_table(str(tmp_path / 'table.json'))['server_list'][0]['device']
    assert [device['device_ip'] for device in devices] == ['192.98.93.100', '192.98.92.100']
    # One that the file does not know.
    status, out, _ = call(capsys, *words, '--devices', '0-2')
    assert status == 0 and out.splitlines()[1].startswith(f'note: device IPs are left out, since {conf} has no address')
    assert 'device_ip' not in (tmp_path / 'table.json').read_text()


def test_device_ips_are_left_out_where_nothing_knows_them(tmp_path, capsys):
    status, out, _ = call(capsys, 'make', '--devices', '0-7', '--hccn_conf', tmp_path / 'none', '--output',
                          tmp_path / 'table.json')
    assert status == 0
    assert out.splitlines()[1].startswith(f'note: device IPs are left out, since {tmp_path}/none is not there')
    table = load_rank_table(str(tmp_path / 'table.json'))
    assert [set(device) for device in table['server_list'][0]['device']] == [{'device_id', 'rank_id'}] * 8


@pytest.mark.parametrize('words, message', [
    ('', 'give either --devices'),
    ('--devices 0 --server 10.0.0.1:0', 'give either --devices'),
    ('--server 10.0.0.1:0 --device_ips 192.98.92.1', 'belong to --devices'),
    ('--devices 0-1 --device_ips 192.98.92.1', '2 devices, but 1 device IPs'),
    ('--devices 0,0 --device_ips 192.98.92.1,192.98.93.1', 'device_id "0" is taken'),
    ('--devices 0 --device_ips 192.98.92.1 --server_ip 10.0.0.256', 'server_id should be the IP'),
    ('--devices 0 --device_ips 192.98.92', 'device_ip should be an IP'),
    ('--server 10.0.0.1', 'should be IP:DEVICES'),
    ('--server 10.0.0.1:0 --server 10.0.0.2:0', 'with several servers every device needs it'),
    ('--devices 0 --hccn_conf {folder}/bad.conf', "'address_0=nowhere' should be an address"),
])
def test_make_names_a_mistake_and_writes_nothing(tmp_path, capsys, words, message):
    (tmp_path / 'bad.conf').write_text('address_0=nowhere\n')
    status, out, err = call(capsys, 'make', '--output', tmp_path / 'table.json',
                            *words.format(folder=tmp_path).split())
    assert (status, out) == (2, '')
    assert err.startswith('error: ') and message in err and err.count('\n') == 1
    assert not (tmp_path / 'table.json').exists()


# Checking

def change(*path_and_value):
    """Return a function that sets (or, with None, removes) one value of a table."""
    *path, key, value = path_and_value

    def apply(table):
        for step in path:
            table = table[step]
        if value is None:
            del table[key]
        else:
            table[key] = value

    return apply


def at(server, device, key, value):
    return change('server_list', server, 'device', device, key, value)


MISTAKES = [
    (change('version', '1.2'), r'version should be "1.0", is "1.2"'),
    (change('version', None), r'version should be "1.0", is missing'),
    (change('status', 'initializing'), r'status should be "completed", is "initializing"'),
    (change('server_list', []), r'server_list should be a list with at least one entry, is \[\]'),
    (change('server_list', None), r'server_list should be a list with at least one entry, is missing'),
    (change('server_count', '1'), r'server_count should be "2", the length of server_list, is "1"'),
    (change('server_count', 2), r'server_count should be "2", the length of server_list, is 2'),
    (change('server_list', 1, 'x'), r'server 1: should be an object with server_id and device, is "x"'),
    (change('server_list', 1, 'server_id', '10.0.0.1'), r'server 1: server_id "10.0.0.1" is taken: server 0 has it'),
    (change('server_list', 1, 'server_id', '10.0.0.'), r'server 1: server_id should be the IP .*, is "10.0.0."'),
    (change('server_list', 1, 'server_id', None), r'server 1: server_id should be .*, is missing'),
    (change('server_list', 1, 'device', []), r'server 1: device should be a list with at least one entry, is \[\]'),
    (change('server_list', 0, 'device', 1, 5), r'server 0, device 1: should be an object .*, is 5'),
    (at(0, 1, 'device_id', '0'), r'server 0, device 1: device_id "0" is taken: server 0, device 0 has it'),
    (at(0, 1, 'device_id', 1), r'server 0, device 1: device_id should be a number as text such as "0", is 1'),
    (at(0, 1, 'device_id', 'one'), r'server 0, device 1: device_id should be a number .*, is "one"'),
    (at(0, 1, 'device_id', None), r'server 0, device 1: device_id should be a number .*, is missing'),
    (at(1, 1, 'device_ip', '192.98.92.1'), r'server 1, device 1: device_ip "192.98.92.1" is taken: server 0, device 0'),
    (at(1, 1, 'device_ip', '192.98.92'), r'server 1, device 1: device_ip should be an IP .*, is "192.98.92"'),
    (at(1, 1, 'device_ip', None), r'server 1, device 1: device_ip is missing; .* \(address_5 in /etc/hccn.conf'),
    (at(1, 1, 'rank_id', '-1'), r'server 1, device 1: rank_id should be a number .*, is "-1"'),
    (at(1, 1, 'rank_id', '7' * 5000), r'server 1, device 1: rank_id should be a number as text'),
    (at(1, 1, 'rank_id', '2'), r'server 1, device 1: rank_id "2" is taken: server 1, device 0 has it'),
    (at(1, 1, 'rank_id', '4'), r'rank ids of 4 devices should be 0 to 3, but 3 is missing and 4 is there '
                               r'\(server 1, device 1\)'),
]


@pytest.mark.parametrize('mistake, message', MISTAKES, ids=[message[:60] for _, message in MISTAKES])
def test_check_names_the_place_and_what_would_be_right(tmp_path, capsys, mistake, message):
    table = copy.deepcopy(TWO_SERVERS)
    mistake(table)
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(table))
    status, out, err = call(capsys, 'check', path)
    assert (status, out) == (2, '')
    assert re.fullmatch(rf'error: {re.escape(str(path))}: .*{message}.*\n', err), err


@pytest.mark.parametrize('content, message', [
    (None, 'cannot be read: No such file'), (b'{', 'is not a JSON file'), (b'\xff\xfe\x00', 'is not a JSON file'),
    (b'[]', 'should be an object with version, server_count, server_list and status, is a list'),
    (b'[' * 10 ** 5, 'is not a JSON file: its lists and objects are nested too deeply'),
    (b'{"version": ' + b'7' * 5000 + b'}', 'is not a JSON file: it holds a number of thousands of digits'),
    (b'{"version": ' + b'[' * 900 + b']' * 900 + b'}', 'version should be "1.0", is [[['),
    (b'{"version": "\x1b[31m\\ud800"}', 'Invalid control character'),
    (b'{"version": "\\u001b[31m\\ud800"}', r'version should be "1.0", is "\u001b[31m\ud800"')])
def test_check_of_something_else(tmp_path, capsys, content, message):
    path = tmp_path / 'table.json'
    if content is not None:
        path.write_bytes(content)
    status, _, err = call(capsys, 'check', path)
    assert status == 2 and err.startswith(f'error: {path}: ') and message in err and err.count('\n') == 1


def test_check_compares_the_number_of_devices(tmp_path, capsys):
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(TWO_SERVERS))
    assert call(capsys, 'check', path, '--device_num', 2) == (0, f'{path}: 2 servers, 4 devices, ranks 0 to 3\n', '')
    status, _, err = call(capsys, 'check', path, '--device_num', 4)
    assert status == 2
    assert err == f'error: {path}: server 0 (10.0.0.1) has 2 devices, but 4 should take part\n'


def test_unusual_but_usable_tables_get_notes():
    assert check_rank_table(TWO_SERVERS, 'table') == []
    table = make_rank_table([Server('a', (0, 1, 2), ('192.98.92.1', '192.98.92.2', '192.98.92.3')),
                             Server('b', (0,), ('192.98.92.4',))])
    assert check_rank_table(table, 'table') == ['the servers have different numbers of devices: 3, 1',
                                                '3 devices on a server; usual are 1, 2, 4, 8']
    table = make_rank_table([Server('10.0.0.1', (0, 1), (None, None))])
    assert check_rank_table(table, 'table') == [
        '2 of 2 devices without device_ip, which only a single server may leave out']


def test_ranks_may_be_in_any_order():
    table = copy.deepcopy(TWO_SERVERS)
    for device, rank in zip(table['server_list'][0]['device'] + table['server_list'][1]['device'], '3102'):
        device['rank_id'] = rank
    assert check_rank_table(table, 'table') == []


def test_command_line_of_the_module(tmp_path):
    path = tmp_path / 'table.json'
    for words, status in ((['make', '--devices', '0-3', '--output', str(path)], 0), (['check', str(path)], 0),
                          (['check', str(tmp_path / 'none')], 2)):
        done = subprocess.run([sys.executable, '-m', 'src.launch.rank_tables', *words], cwd=ROOT, capture_output=True,
                              text=True)
        assert done.returncode == status, done.stderr
        assert 'Traceback' not in done.stderr
