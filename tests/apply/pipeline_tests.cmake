add_library(pipeline_rig OBJECT ${CMAKE_CURRENT_LIST_DIR}/pipeline_rig.c)
target_link_libraries(pipeline_rig PUBLIC syncline_flags PkgConfig::CK PkgConfig::HIREDIS
    PkgConfig::CMOCKA)
target_compile_definitions(pipeline_rig PRIVATE TEST_FIXTURES="${PROJECT_SOURCE_DIR}/tests/fixtures")

foreach(name router lane input snapshot live transaction decoder)
    syncline_test(apply_${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c
        LIBRARIES pipeline_rig syncline_apply syncline_io syncline_rdb syncline_base LABELS apply)
    if(SYNCLINE_SANITIZE MATCHES "thread") # ring.h tells of the hand-offs that this hides
        set_tests_properties(apply_${name} PROPERTIES ENVIRONMENT
            "TSAN_OPTIONS=suppressions=${CMAKE_CURRENT_LIST_DIR}/../tsan.suppressions")
    endif()
endforeach()
