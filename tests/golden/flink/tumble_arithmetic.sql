SELECT device, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS w_start,
    AVG(temp * 1.8 + 32) AS fahrenheit_avg, SUM(temp * hum) / SUM(hum) AS weighted_avg, MAX(temp) - MIN(temp) AS spread,
    -SUM(load) AS given_sum, SUM(CASE WHEN load <> 0 THEN temp / load END) AS ratio_sum,
    COUNT(temp + hum + load) AS complete
FROM readings
GROUP BY device, TUMBLE(ts, INTERVAL '1' MINUTE)
